"""Starting the processes of a training on several machines: by a command such as torchrun, to which signals go on."""

import os
import re
import shlex
import subprocess

from gptmodel.errors import ConfigError, GptModelError, Interrupted
from stages.stopping import StopSignals

A_MOMENT = 0.2  # seconds
LAUNCHED = "GPTMODEL_LAUNCHED"  # set for what a launcher starts


def launcher_words(launcher: str) -> list[str]:
    """Return the words of a launcher, variables of the environment filled in; ConfigError for one that is not set."""
    words = os.path.expandvars(launcher)
    if unset := re.search(r"\$\{?\w+", words):
        raise ConfigError(
            f"runtime.launcher: {unset[0]} is not set in the environment; set it, or write what it stands for"
        )
    try:
        return shlex.split(words)
    except ValueError as error:
        raise ConfigError(f"runtime.launcher = {launcher}: {str(error).lower()}; correct it") from None


def launch(command: list[str]) -> None:
    """Run a launcher such as torchrun, and pass a signal on to it."""
    with StopSignals() as stop:
        try:
            process = subprocess.Popen(command, start_new_session=True, env={**os.environ, LAUNCHED: "1"})
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
        if stop.received is not None and process.returncode:
            raise Interrupted(stop.received, "the processes were told to stop; run the same command to go on")
    if process.returncode:
        raise GptModelError(f"runtime.launcher: {shlex.join(command[:1])} ended with status {process.returncode}")
