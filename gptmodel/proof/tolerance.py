"""A rebuild on another platform than that of the lock: telling that it is one, and how far metrics may then be apart.

There the same code, data and settings add numbers in another order: other bytes, and nearly the same losses.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gptmodel.project.lock import TIMED, steady

SAME, TIME, VARIES = "same", "same, but for the time it took", "volatile"
NEAR, ELSEWHERE = "within tolerance", "other platform"
DIFFERS, MISSING, FAILED = "differs", "missing", "failed"
PROVEN, EXCUSED = (SAME, TIME, VARIES), (NEAR, ELSEWHERE)

# How far fractions may be apart on another platform, relative to the larger one; anything else has to be equal.
TOLERANCE = {
    "metrics/train.json": 0.02,  # rounding grows with each iteration
    "metrics/history.csv": 0.02,
    "metrics/evaluate.json": 0.001,  # of the locked model: there is nothing to grow
}
SMALL = 0.01
"""What is smaller counts as of this size: a gap of nearly nothing is a difference of two losses."""


def platform_of(model: Path) -> dict[str, str]:
    """Return where a model was trained, by its own word; GptModelError or KeyError when it cannot be told."""
    from gptmodel.checkpoint.model_file import load_model

    platform = load_model(model).provenance["platform"]
    return {str(key): str(value) for key, value in platform.items()}


def platform_here() -> dict[str, str]:
    """Return what of the fingerprint does not depend on the settings of a training."""
    from gptmodel.compute.place import Place

    fingerprint = Place.on("cpu").fingerprint
    return {key: fingerprint[key] for key in ("torch", "torch_build", "cpu_capability")}


def explained(path: str, platforms: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield lines that say where the locked and the rebuilt model were trained, and what that explains."""
    for who, platform in platforms.items():
        yield f"{path}: {who}: {', '.join(f'{key} {value}' for key, value in platform.items())}"
    if told := _told_apart(*platforms.values()):
        yield f"{path}: this explains other bytes: {told}"
    else:
        yield f"{path}: trained on the same platform: other code, data or settings made it"


def another_machine(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return in what two fingerprints differ; nothing if in the threads too, which are a setting and excuse nothing."""
    return _told_apart(there, here) if there.get("threads") == here.get("threads") else ""


def _told_apart(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    return ", ".join(f"{key} {there.get(key)} there, {here.get(key)} here" for key in keys)


def compare_metrics(path: str, committed: bytes, rebuilt: bytes, elsewhere: bool) -> tuple[str, str]:
    """Compare a metrics file of other bytes, within the tolerance where it was rebuilt elsewhere; status and reason."""
    try:
        old, new = steady(path, committed), steady(path, rebuilt)
    except ValueError as error:
        return DIFFERS, str(error)
    if path in TIMED and old == new:
        return TIME, f"{', '.join(TIMED[path])} left out"
    there, here = dict(_leaves(old)), dict(_leaves(new))
    apart = {name: _apart(there.get(name), here.get(name)) for name in {**there, **here}}
    name = max(apart, key=lambda name: apart[name], default="")
    told = f"{name} {there.get(name)} in the lock, {here.get(name)} here" if name else "other bytes for no number"
    if not elsewhere:
        return DIFFERS, f"{told}; more than the time" if path in TIMED else told
    allowed, furthest = TOLERANCE[path], apart.get(name, math.inf)
    return (
        NEAR if furthest <= allowed else DIFFERS,
        f"{told}: {100 * furthest:.2g} % apart, {100 * allowed:g} % allowed",
    )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested JSON by their path; those of a table are numbers again."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, str):
        try:
            yield name, float(value) if "." in value or "e" in value else int(value)
        except ValueError:
            yield name, value
    else:
        yield name, value


def _apart(there: Any, here: Any) -> float:
    if there == here:
        return 0.0
    if not (isinstance(there, float) and isinstance(here, float)):
        return math.inf
    distance = abs(there - here) / max(abs(there), abs(here), SMALL)
    return distance if math.isfinite(distance) else math.inf  # not a number is near to nothing
