"""Starting the processes of a training: those of this machine by torch's elastic agent, others by a launcher."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gptmodel.errors import ConfigError
from stages.launcher import LAUNCHED, launch, launcher_words

if TYPE_CHECKING:
    from gptmodel.config import Params
    from gptmodel.data.prepared import PreparedData


def are_to_start(params: "Params") -> bool:
    """Whether the training is for several processes, and this is none of them.

    Raises ConfigError in a process that a launcher started without torchrun: it would start itself again.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    if LAUNCHED in os.environ:
        raise ConfigError("runtime.launcher: has to end with torchrun and its options, which it did not start")
    return params.runtime.processes > 1 or params.runtime.launcher is not None


def run_ranks(params: "Params", data: "PreparedData", words: list[str]) -> None:
    """Run `python -m stages.train` with these words in several processes, and end as they do.

    What is wrong with the settings is found before. Raises typer.Exit with the status of the process that failed first,
    which has told why.
    """
    runtime = params.runtime
    if runtime.launcher is not None:
        launch([*launcher_words(runtime.launcher), "-m", "stages.train", *words])
        return
    from gptmodel.compute.agent import run_agent
    from gptmodel.compute.ranks import World
    from gptmodel.project.layout import project_root
    from gptmodel.training.initial import initial_model
    from gptmodel.training.run import find_place

    splits = len(data.train.ids), len(data.val.ids)
    find_place(params, data.tokenizer.vocab_size, splits, World(0, runtime.processes, runtime.processes))
    initial_model(params, data.tokenizer, project_root())
    if status := run_agent(
        runtime.processes,
        runtime.restarts,
        runtime.rank_timeout,
        [sys.executable, "-m", "stages.train", *words],
    ):
        raise typer.Exit(status)


def as_words(params_file: Path, settings: list[str] | None, out: Path) -> list[str]:
    """Return the words of a command line that say these options."""
    words = ["--params", str(params_file), *(word for setting in settings or () for word in ("-S", setting))]
    return words if out == Path() else [*words, "--out", str(out)]
