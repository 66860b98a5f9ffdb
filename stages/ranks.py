"""Starting the processes of a training: those of this machine by torch's elastic agent, others by a launcher."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gptmodel.errors import ConfigError, GptModelError, Interrupted
from stages.stopping import StopSignals

if TYPE_CHECKING:
    from gptmodel.config import Params
    from gptmodel.data.prepared import PreparedData

A_MOMENT = 0.2  # seconds


def are_to_start(params: "Params") -> bool:
    """Whether the training is for several processes, and this is none of them."""
    several = params.runtime.processes > 1 or params.runtime.launcher is not None
    return several and "TORCHELASTIC_RUN_ID" not in os.environ


def run_ranks(params: "Params", data: "PreparedData", words: list[str]) -> None:
    """Run `python -m stages.train` with these words in several processes, and end as they do.

    What is wrong with the settings is found before. Raises typer.Exit with the status of the process that failed first,
    which has told why.
    """
    runtime = params.runtime
    if runtime.launcher is not None:
        _launch([*shlex.split(runtime.launcher), "-m", "stages.train", *words])
        return
    from gptmodel.compute.agent import run_agent
    from gptmodel.compute.ranks import World
    from gptmodel.training.run import find_place

    splits = len(data.train.ids), len(data.val.ids)
    find_place(params, data.tokenizer.vocab_size, splits, World(0, runtime.processes, runtime.processes))
    if status := run_agent(runtime.processes, runtime.restarts, [sys.executable, "-m", "stages.train", *words]):
        raise typer.Exit(status)


def as_words(params_file: Path, settings: list[str] | None, out: Path) -> list[str]:
    """Return the words of a command line that say these options."""
    words = ["--params", str(params_file), *(word for setting in settings or () for word in ("-S", setting))]
    return words if out == Path() else [*words, "--out", str(out)]


def _launch(command: list[str]) -> None:
    """Run a launcher such as torchrun, and pass a signal on to it."""
    with StopSignals() as stop:
        try:
            process = subprocess.Popen(command, start_new_session=True)
        except OSError as error:
            raise ConfigError(f"runtime.launcher: {command[0]}: {error.strerror}; install it, or correct it") from None
        told = False
        while process.poll() is None:
            if stop.received is not None and not told:
                process.send_signal(stop.received)
                told = True
            try:
                process.wait(A_MOMENT)
            except subprocess.TimeoutExpired:
                continue
        if stop.received is not None:
            raise Interrupted(stop.received, "the processes were told to stop; run the same command to go on")
    if process.returncode:
        raise GptModelError(f"runtime.launcher: {shlex.join(command[:1])} ended with status {process.returncode}")
