"""The proof of dvc.lock: a revision's own code rebuilds its own files, and everything is compared with the lock.

From Python, `verify` is all there is to call. To follow a proof while it is made, iterate over `rebuild_and_compare`
inside `with worktree(revision) as tree`, and hand what it yields to `Proof.of`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gptmodel.project.git import Revision, worktree
from gptmodel.project.lock import Stage
from gptmodel.proof.checkout import Checkout
from gptmodel.proof.inputs import compare_inputs
from gptmodel.proof.outs import compare_outs
from gptmodel.proof.platform import ModelPlatform
from gptmodel.proof.rebuild import rebuild
from gptmodel.proof.result import DIFFERS, MISSING, Event, Proof, Rebuilding, Row
from gptmodel.proof.supply import supply
from gptmodel.proof.workspace import compare_workspace


def verify(root: Path, revision: str = "HEAD", stages: Sequence[str] = ()) -> Proof:
    """Rebuild a revision of the project at `root`, or these stages of it only, and compare all with its dvc.lock.

    It takes as long as the stages take, and changes nothing in the project. GptModelError when git knows no such
    revision, there is no such stage, or dvc.yaml or dvc.lock are not as DVC writes them.
    """
    commit = Revision.find(root.resolve(), revision)
    with worktree(commit) as tree:
        return Proof.of(commit, rebuild_and_compare(commit, tree, stages))


def rebuild_and_compare(revision: Revision, tree: Path, stages: Sequence[str] = ()) -> Iterator[Event]:
    """Rebuild stages, or all, in the worktree of a revision; yield what begins, what was compared and explanations."""
    checkout = Checkout.read(revision, tree)
    platform = ModelPlatform(checkout)
    selected = checkout.stages_named(stages)
    for name in sorted(checkout.lock.keys() - {stage.name for stage in checkout.stages}):
        yield Row(name, "", DIFFERS, "in dvc.lock, but not in dvc.yaml")
    for stage in selected:
        yield from _rebuild_and_compare(checkout, stage, platform, whole=len(selected) == len(checkout.stages))
    if revision.is_head:
        yield from compare_workspace(checkout, selected)
    yield from platform.explanations


def _rebuild_and_compare(checkout: Checkout, stage: Stage, platform: ModelPlatform, *, whole: bool) -> Iterator[Event]:
    locked = checkout.lock.get(stage.name)
    if locked is None:
        yield Row(stage.name, "", MISSING, "not in dvc.lock: run `dvc repro` and commit it")
        return
    yield from compare_inputs(checkout, stage, locked)
    if missing := list(supply(checkout, stage, locked, whole=whole)):
        yield from missing
        return
    yield Rebuilding(stage.name)
    if (yield from rebuild(checkout, stage, locked)):
        yield from compare_outs(checkout, stage, locked, platform)
