"""Comparing the workspace with its last commit: a model, a metric or a lock that was changed by hand."""

from collections.abc import Iterator, Sequence

from gptmodel.errors import GptModelError
from gptmodel.project.git import git
from gptmodel.project.lock import Stage, measure, read_lock
from gptmodel.proof.checkout import Checkout
from gptmodel.proof.result import DIFFERS, Row


def compare_workspace(checkout: Checkout, stages: Sequence[Stage]) -> Iterator[Row]:
    """Yield a row for dvc.lock and each out of these stages that is in the workspace, but not as the lock has it.

    An out is compared with the lock of the workspace too: after `dvc repro` both may be ahead of the commit.
    """
    root = checkout.revision.root
    try:
        uncommitted_lock = read_lock(root / "dvc.lock")
    except GptModelError:
        uncommitted_lock = {}
    tracked = ["dvc.lock", *(path for stage in stages for path in stage.outs if path in checkout.committed)]
    for path in git(root, "diff", "--name-only", "--relative", "HEAD", "--", *tracked).splitlines():
        detail = f"it differs from {checkout.revision}: commit it, or `git restore {path}`"
        yield Row("workspace", path, DIFFERS, detail)
    for stage in stages:
        locks = [lock[stage.name].outs for lock in (checkout.lock, uncommitted_lock) if stage.name in lock]
        for path in stage.outs:
            entry = None if path in tracked else measure(root / path)
            if entry is not None and entry not in [outs.get(path) for outs in locks]:
                detail = f"md5 {entry.md5[:8]} is not that of dvc.lock: `dvc checkout {path}`"
                yield Row("workspace", path, DIFFERS, detail)
