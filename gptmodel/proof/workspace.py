"""Comparing the workspace with its last commit: a model, a metric or a lock that was changed by hand."""

from collections.abc import Iterator, Sequence

from gptmodel.errors import GptModelError
from gptmodel.project.git import git
from gptmodel.project.layout import Layout
from gptmodel.project.lock import Stage, measure, read_lock
from gptmodel.proof.checkout import Checkout
from gptmodel.proof.result import DIFFERS, Row
from gptmodel.proof.supply import place, remove


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
        keep = "commit it if `dvc repro` wrote it"
        detail = f"it differs from {checkout.revision}: {keep}; `git checkout HEAD -- {path}` brings that one back"
        yield Row("workspace", path, DIFFERS, detail)
    for stage in stages:
        locks = [lock[stage.name].outs for lock in (checkout.lock, uncommitted_lock) if stage.name in lock]
        for path in stage.outs:
            entry = None if path in tracked else measure(root / path)
            if entry is not None and entry not in [outs.get(path) for outs in locks]:
                mend = _mend(checkout, stage, path, [outs[path].md5 for outs in locks if path in outs])
                yield Row("workspace", path, DIFFERS, f"md5 {entry.md5[:8]} is not that of dvc.lock: {mend}")


def _mend(checkout: Checkout, stage: Stage, path: str, md5s: list[str]) -> str:
    """Return what makes an out and the lock agree again; DVC can restore only what it has in its cache."""
    out, beside = stage.outs[path], checkout.tree.parent / "cached"
    if not out.cached:
        mend = "run `dvc repro` and commit what it changes"
        # which fetch does not replace, as it may be the user's own
        is_in_the_way = path == Layout().text.as_posix() and checkout.setting("fetch", "source") != "own"
        return f"set fetch.source to own or move the file away, then {mend}" if is_in_the_way else mend
    if md5s and place(checkout, path, md5s[-1], beside):
        remove(beside)
        return f"`dvc checkout --force {path}` replaces it by that one"
    return f"`dvc repro {stage.name}` replaces it by a new one"
