"""Prove dvc.lock: rebuild a revision from what git holds of it, and show every out beside what the lock says."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from gptmodel.errors import GptModelError
from gptmodel.project.git import Revision, uncommitted, worktree
from gptmodel.project.layout import project_root
from gptmodel.proof.result import Event, Proof, Rebuilding
from stages.command import note, say

RevisionArgument = Annotated[str, typer.Argument(metavar="REV", help="The commit, branch or tag to prove.")]
StageOption = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="NAME", help="Rebuild this stage only, from the outs it depends on; repeatable."),
]


def verify(revision: RevisionArgument = "HEAD", stage: StageOption = None) -> None:
    """Prove dvc.lock. Rebuilds a revision in a clean folder and compares every out with the lock."""
    from gptmodel.proof.verification import rebuild_and_compare

    commit = Revision.find(project_root().resolve(), revision)
    if changed := uncommitted(commit.root):
        names = ", ".join(changed[:5]) + (" ..." if len(changed) > 5 else "")
        note(f"note: only what is committed is rebuilt; the workspace has uncommitted changes: {names}")
    with worktree(commit) as tree:
        proof = Proof.of(commit, _noted(rebuild_and_compare(commit, tree, stage or ())))
    _show(proof)
    of = f" for {', '.join(stage)}" if stage else ""
    if proof.faults:
        names = ", ".join(f"{row.stage} {row.path} {row.status}" for row in proof.faults[:4])
        raise GptModelError(f"{commit}: dvc.lock is not proven: {names}{' ...' if len(proof.faults) > 4 else ''}")
    if proof.excused:
        say(
            f"{commit}: dvc.lock is not proven to the byte{of}: this is another platform ({proof.other_platform}); "
            "what has to be the same everywhere is the same, and the metrics agree within their tolerances"
        )
    else:
        say(f"{commit}: dvc.lock is proven{of}")


def _noted(events: Iterable[Event]) -> Iterator[Event]:
    """Say which stage is being rebuilt, while it is."""
    for event in events:
        if isinstance(event, Rebuilding):
            note(f"rebuilding {event.stage} ...")
        yield event


def _show(proof: Proof) -> None:
    widths = [max((len(getattr(row, name)) for row in proof.rows), default=0) for name in ("stage", "path", "status")]
    for row in proof.rows:
        cells = [f"{cell:<{width}}" for cell, width in zip((row.stage, row.path, row.status), widths, strict=True)]
        say("  ".join([*cells, row.detail]).rstrip())
    for line in proof.explanations:
        say(line)
