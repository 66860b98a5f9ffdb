"""Comparing what a stage is made from: command, code, data and settings of the revision beside those in dvc.lock."""

from collections.abc import Iterator, Mapping
from typing import Any

from gptmodel.project.lock import LockedStage, Stage, measure
from gptmodel.proof.checkout import Checkout, difference
from gptmodel.proof.result import DIFFERS, SAME, Row


def compare_inputs(checkout: Checkout, stage: Stage, locked: LockedStage) -> Iterator[Row]:
    """Yield a row for each input that is not as the lock names it, or one row that says that all are the same."""
    faults = []
    if locked.cmd != stage.cmd:
        faults.append(("command", f"lock {locked.cmd!r}, dvc.yaml {stage.cmd!r}"))
    for path in sorted({*stage.deps, *locked.deps}):
        faults += [(path, change) for change in _changed_dependency(checkout, stage, locked, path)]
    for file in sorted({*stage.params, *locked.params}):
        changes = changed_params(locked.params.get(file, {}), checkout.settings(file), stage.params.get(file, ()))
        faults += [(file, change) for change in changes]
    for path, detail in faults:
        yield Row(stage.name, path, DIFFERS, detail)
    if not faults:
        sections = ", ".join(key for keys in stage.params.values() for key in keys)
        detail = f"{len(stage.deps)} dependencies; settings {sections or 'none'}"
        yield Row(stage.name, "code, data, settings", SAME, detail)


def _changed_dependency(checkout: Checkout, stage: Stage, locked: LockedStage, path: str) -> Iterator[str]:
    entry, maker = locked.deps.get(path), checkout.maker(path)
    if entry is None or path not in stage.deps:
        yield f"a dependency in {'dvc.yaml' if entry is None else 'dvc.lock'} only"
    elif maker is None:
        if change := difference(entry, measure(checkout.tree / path), "revision"):
            yield change
    elif maker in checkout.lock and checkout.lock[maker].outs.get(path) != entry:
        yield f"dvc.lock has another entry for it as an out of {maker}"


def changed_params(locked: Mapping[str, Any], current: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each of these keys that the lock has otherwise than the params file, or not at all."""
    for key in sorted({*keys, *locked}):
        value: Any = current
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if key not in keys:
            yield f"{key}: only in the lock"
        elif key not in locked:
            yield f"{key}: not in the lock"
        else:
            yield from _changes(key, locked[key], value)


def _changes(key: str, locked: Any, current: Any) -> Iterator[str]:
    if isinstance(locked, dict) and isinstance(current, dict):
        for name in sorted({*locked, *current}):
            yield from _changes(f"{key}.{name}", locked.get(name), current.get(name))
    elif locked != current:
        yield f"{key}: lock {locked!r:.40}, params {current!r:.40}"
