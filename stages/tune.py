"""Search for better settings: one process is one worker of a study, which any number of them share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptmodel.errors import ConfigError
from gptmodel.project.layout import project_root
from stages.command import note, say, tell

if TYPE_CHECKING:
    from gptmodel.tuning.study import Study

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="What to search over.")]
BestOption = Annotated[bool, typer.Option("--best", help="Print the best settings, as `dvc exp run` takes them.")]
StatusOption = Annotated[bool, typer.Option("--status", help="Print the trials so far, the best first.")]
ExampleOption = Annotated[bool, typer.Option("--example", help="Print a file to begin with.")]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="ADDRESS",
        envvar="OPTUNA_STORAGE",
        help="Where studies are kept, such as postgresql://USER@HOST/studies. By default studies.db in the project.",
    ),
]


def tune(
    file: FileArgument = Path("tune.yaml"),
    best: BestOption = False,
    status: StatusOption = False,
    example: ExampleOption = False,
    storage: StorageOption = None,
) -> None:
    """Search for better settings, as tune.yaml says. Run it several times, here and elsewhere, for several workers.

    Each trial is a training on data/prepared by params.yaml, with some settings changed. Bad ones are stopped early.
    `dvc exp run $(gptmodel tune --best)` puts the best through the pipeline.
    """
    if best + status + example > 1:
        raise ConfigError("--best, --status and --example: give one of them")

    from gptmodel.tuning.search import EXAMPLE, read_search

    if example:
        say(EXAMPLE, end="")
        return
    search = read_search(file)

    from gptmodel.tuning.storage import own_address
    from gptmodel.tuning.study import Study

    address = storage or own_address(project_root())
    if best:
        _say_best(Study(address, search))
        return
    if status:
        study = Study(address, search)
    else:
        from stages.searching import work

        study = work(search, address)
    for line in study.lines():
        say(line)
    if not status and (row := study.best()) is not None:
        tell(f"the best is trial {row.number}: `dvc exp run $(gptmodel tune {file} --best)` makes it an experiment")


def _say_best(study: "Study") -> None:
    from gptmodel.tuning.search import as_options

    row = study.best()
    if row is None:
        raise ConfigError(f"study {study.name}: no trial is complete yet; `gptmodel tune --status` shows them")
    say(as_options(row.values))
    if not list((project_root() / "runs" / str(row.run)).glob("snapshot-*.pt")):
        why = "trained elsewhere, given up, or taken by the pipeline already"
        note(f"note: the state of trial {row.number} is not here ({why}), so a training of it starts anew")
