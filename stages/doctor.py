"""Examine the project and this machine, explain what a kill left behind, and mend what is safe to mend."""

from typing import Annotated

import typer

from gptmodel.errors import GptModelError
from gptmodel.project.layout import project_root
from stages.command import say

MendOption = Annotated[bool, typer.Option("--mend", help="Repair what can be repaired safely.")]
FreeOption = Annotated[
    str | None,
    typer.Option(
        "--free",
        metavar="NAME|AGE|ends",
        help="Give up an unfinished training, all of a study, all of an age such as 30d or 12h, or the ends that "
        "longer trainings go on from; check nothing.",
    ),
]


def doctor(mend: MendOption = False, what: FreeOption = None) -> None:
    """Check the project and this machine. Says what is wrong, what a killed command left, and how to repair it."""
    from gptmodel.doctor.examination import examine
    from gptmodel.doctor.trainings import free

    if what is not None:
        for line in free(project_root(), what):
            say(line)
        return
    problems = mendable = 0
    for finding in examine(project_root()):
        say(f"{finding.status:<7}  {finding.text}")
        if mend and finding.mend is not None:
            say(f"mended   {finding.mend()}")
            continue
        problems += finding.status == "problem"
        mendable += finding.mend is not None
    if mendable:
        say(f"`gptmodel doctor --mend` repairs {mendable} of these")
    if problems:
        raise GptModelError(f"{problems} problem{'s' if problems > 1 else ''} left, see above")
