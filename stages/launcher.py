"""Starting the processes of a training on several machines: by a command such as torchrun, to which signals go on."""

import os
import re
import shlex
import subprocess

from gptmodel.compute.ranks import stop_with_parent
from gptmodel.errors import ConfigError, GptModelError
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
    """Run a launcher such as torchrun, and pass a signal on to it; on Linux it is stopped if this process is killed."""
    with StopSignals() as stop:
        process = _started(command)
        told = False
        while process.poll() is None:
            if stop.received is not None and not told:
                process.send_signal(stop.received)
                told = True
            try:
                process.wait(A_MOMENT)
            except subprocess.TimeoutExpired:
                continue
    if process.returncode:
        stop.check()
        raise GptModelError(
            f"runtime.launcher: {shlex.join(command[:1])} ended with status {process.returncode} (see above); what was "
            "saved last is kept: run the same command to go on"
        )


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    """Start a launcher, where signals of the terminal do not reach it."""
    environment = {**os.environ, LAUNCHED: "1"}
    bound = stop_with_parent if os.name == "posix" else None  # Windows cannot
    try:
        # the fork has this thread alone, and no other one is at work that could hold a lock which it needs
        return subprocess.Popen(command, start_new_session=True, env=environment, preexec_fn=bound)  # noqa: PLW1509
    except OSError as error:
        raise ConfigError(f"runtime.launcher: {command[0]}: {error.strerror}; install it, or correct it") from None
