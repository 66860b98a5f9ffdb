"""How far the numbers of a rebuilt metrics file may be from the committed ones.

The time that a training took may differ anywhere, and fractions a little on another platform.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from gptmodel.proof.result import DIFFERS, NEAR, TIME

TIMED = {  # fields, or columns of a table, that hold the time a training took on its machine
    "metrics/train.json": ("seconds", "tokens_per_second"),
    "metrics/history.csv": ("seconds",),
}
# How far fractions may be apart on another platform, relative to the larger one; anything else has to be equal.
TOLERANCE = {
    "metrics/train.json": 0.02,  # rounding grows with each iteration
    "metrics/history.csv": 0.02,
    "metrics/evaluate.json": 0.001,  # of the locked model: there is nothing to grow
}
SMALL = 0.01
"""What is smaller counts as of this size: a gap of nearly nothing is a difference of two losses."""


def compare_metrics(path: str, committed: bytes, rebuilt: bytes, other_platform: bool) -> tuple[str, str]:
    """Compare metrics files of different bytes, with the tolerance of another platform or none; status and reason."""
    try:
        old, new = without_times(path, committed), without_times(path, rebuilt)
    except ValueError as error:
        return DIFFERS, str(error)
    if path in TIMED and old == new:
        return TIME, f"{', '.join(TIMED[path])} left out"
    olds, news = dict(_leaves(old)), dict(_leaves(new))
    distances = {name: _distance(olds.get(name), news.get(name)) for name in {**olds, **news}}
    furthest = max(distances, key=lambda name: distances[name], default="")
    distance = distances.get(furthest, 0.0)
    reason = (
        f"{furthest} {olds.get(furthest)} in the lock, {news.get(furthest)} here" if distance else "the same numbers"
    )
    if not other_platform:
        return DIFFERS, f"{reason}; more than the time differs" if path in TIMED else reason
    tolerance = TOLERANCE[path]
    status = NEAR if distance <= tolerance else DIFFERS
    return status, f"{reason}: {100 * distance:.2g} % apart, {100 * tolerance:g} % allowed"


def without_times(path: str, content: bytes) -> Any:
    """Return the content of a metrics file without the time it took; ValueError when it is not of its format."""
    fields = TIMED.get(path, ())
    if path.endswith(".json"):
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("not a mapping")
        return {key: value for key, value in values.items() if key not in fields}
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    return [{key: value for key, value in row.items() if key not in fields} for row in rows]


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


def _distance(old: Any, new: Any) -> float:
    """Return how far two fractions are apart, relative to the larger one; infinity for anything else that differs."""
    if old == new:
        return 0.0
    if not (isinstance(old, float) and isinstance(new, float)):
        return math.inf
    distance = abs(old - new) / max(abs(old), abs(new), SMALL)
    return distance if math.isfinite(distance) else math.inf  # not a number is near to nothing
