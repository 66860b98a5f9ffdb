"""Comparing what a stage made: each rebuilt out beside dvc.lock and the copy that git holds."""

from collections.abc import Iterator

from gptmodel.project.lock import Entry, LockedStage, Stage, md5_of, measure
from gptmodel.proof.checkout import Checkout, difference
from gptmodel.proof.platform import ModelPlatform
from gptmodel.proof.result import DIFFERS, ELSEWHERE, MISSING, SAME, VARIES, Row
from gptmodel.proof.tolerance import TOLERANCE, compare_metrics

VOLATILE = {"models/run.json": "it names a tracked run"}
"""Outs that are different each time, and why."""


def compare_outs(checkout: Checkout, stage: Stage, locked: LockedStage, platform: ModelPlatform) -> Iterator[Row]:
    """Yield a row for each out of a stage that was rebuilt in the tree."""
    for path in stage.outs:
        yield Row(stage.name, path, *_compare(checkout, stage, path, locked.outs.get(path), platform))
    for path in sorted(locked.outs.keys() - stage.outs.keys()):
        yield Row(stage.name, path, DIFFERS, "an out in dvc.lock, but not in dvc.yaml")


def _compare(
    checkout: Checkout, stage: Stage, path: str, entry: Entry | None, platform: ModelPlatform
) -> tuple[str, str]:
    """Return status and detail of an out."""
    rebuilt, committed, out = measure(checkout.tree / path), checkout.committed.get(path), stage.outs[path]
    if entry is None or rebuilt is None:
        return MISSING, "not in dvc.lock" if entry is None else "the stage did not write it"
    if committed is None and out.kind != "outs" and not out.cached:
        return MISSING, "git does not have it; run `dvc repro`, `git add` it and commit"
    if committed is not None and (md5 := md5_of(committed)) != entry.md5:
        return DIFFERS, f"lock {entry.md5[:8]}, committed {md5[:8]}, rebuilt {rebuilt.md5[:8]}"
    if path in VOLATILE:
        return VARIES, VOLATILE[path]
    if rebuilt == entry:
        return SAME, f"md5 {rebuilt.md5[:8]}"
    status, reason = _judge(checkout, stage, path, platform)
    change = difference(entry, rebuilt, "rebuilt")
    return status, f"{change}; {reason}" if reason else change


def _judge(checkout: Checkout, stage: Stage, path: str, platform: ModelPlatform) -> tuple[str, str]:
    """Judge an out of other bytes: metrics by their numbers, all else that a model decides by the platform."""
    committed = checkout.committed.get(path)
    by_model = any(name.endswith(".pth") for name in (*stage.outs, *stage.deps))
    if by_model and path not in TOLERANCE:
        return ELSEWHERE if platform.difference else DIFFERS, ""
    if not by_model or committed is None:
        return DIFFERS, ""
    rebuilt = (checkout.tree / path).read_bytes()
    return compare_metrics(path, committed, rebuilt, other_platform=bool(platform.difference))
