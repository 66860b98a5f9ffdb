"""Prove dvc.lock: rebuild a revision from what git holds of it, and show every out beside what the lock says."""

from typing import Annotated

import typer

from gptmodel.errors import GptModelError
from gptmodel.project.layout import project_root
from stages.command import note

RevisionArgument = Annotated[str, typer.Argument(metavar="[REV]", help="The commit, branch or tag to prove.")]
StageOption = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="NAME", help="Rebuild this stage only, from the outs it depends on; repeatable."),
]


def verify(revision: RevisionArgument = "HEAD", stage: StageOption = None) -> None:
    """Prove dvc.lock: rebuild a revision in a clean folder and compare every out with the lock."""
    from gptmodel.project.git import Revision, git, worktree
    from gptmodel.proof.tolerance import EXCUSED, PROVEN
    from gptmodel.proof.verification import Verification

    found = Revision.find(project_root().resolve(), revision)
    if changed := git(found.root, "status", "--porcelain", "--untracked-files=no", "--", ".").splitlines():
        names = ", ".join(line[3:] for line in changed[:5]) + (" ..." if len(changed) > 5 else "")
        note(f"note: only what is committed is rebuilt; the workspace has uncommitted changes: {names}")
    with worktree(found) as tree:
        examined = Verification(found, tree, note)
        examined.run(stage or [])
    widths = [max(len(getattr(row, name)) for row in examined.rows) for name in ("stage", "path", "status")]
    for row in examined.rows:
        cells = [f"{cell:<{width}}" for cell, width in zip((row.stage, row.path, row.status), widths, strict=True)]
        typer.echo("  ".join([*cells, row.detail]).rstrip())
    for line in examined.explanations:
        typer.echo(line)
    faults = [row for row in examined.rows if row.status not in (*PROVEN, *EXCUSED)]
    if faults:
        names = ", ".join(f"{row.stage} {row.path} {row.status}" for row in faults[:4])
        raise GptModelError(f"{found}: dvc.lock is not proven: {names}{' ...' if len(faults) > 4 else ''}")
    of = f" for {', '.join(stage)}" if stage else ""
    if any(row.status in EXCUSED for row in examined.rows):
        typer.echo(
            f"{found}: dvc.lock is not proven to the byte{of}: this is another platform ({examined.elsewhere}); "
            "all that has to be the same everywhere is, and the metrics agree within their tolerances"
        )
    else:
        typer.echo(f"{found}: dvc.lock is proven{of}")
