"""What all command lines share: the app, how they print, and the exit status that an error ends with."""

import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.exceptions import TyperException

from gptmodel.errors import GptModelError, Interrupted, is_out_of_memory

# What the user can mend outside the program, and how.
MENDABLE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "make the folder writable",
    errno.EACCES: "make it readable and writable",
    errno.EPERM: "make it readable and writable",
    errno.ENOTDIR: "move away the file that stands where a folder has to be",
    errno.EEXIST: "move away the file that stands where a folder has to be",
    errno.EISDIR: "move away the folder that stands where a file has to be",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ENOMEM: "allow this command more memory",
    errno.EAGAIN: "allow this user more processes and threads (`ulimit -u`, or the container's limit)",
}
OUT_OF_MEMORY = (
    "out of memory: free some, allow this command more (`ulimit -v`, or the container's limit), or lower what it does "
    "at once (train.batch_size, evaluate.threads, sample.num_samples); nothing is lost"
)
NO_THREAD = f"no more threads can be started: {MENDABLE[errno.EAGAIN]}, then run the same command again"


CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that make a terminal do something, but for tab and newline; an escape sequence begins with one."""


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a result on stdout, at once."""
    _write(sys.stdout, text + end)


def note(line: str) -> None:
    """Tell the user something that is not a result, on stderr."""
    _write(sys.stderr, f"{line}\n")


def _write(stream: TextIO | None, text: str) -> None:
    """Write a text as it is, but for the control characters where a terminal would obey them: those are escaped."""
    if stream is None:  # closed before the start
        return
    if stream.isatty():
        text = CONTROLS.sub(lambda control: f"\\x{ord(control[0]):02x}", text)
    stream.write(text)
    stream.flush()


def new_app(**settings: Any) -> typer.Typer:
    """Return a Typer app that starts fast and leaves tracebacks as they are."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def main(app: Callable[..., Any]) -> None:
    """Run a command line and end the process with the documented status.

    0 done; 2 the user's input is wrong: one line on stderr; 130 and 143 stopped by SIGINT and SIGTERM;
    1 anything else, with its traceback. What the encoding of stdout or stderr cannot hold is printed escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        Path.cwd()  # OSError where there is none
        sys.exit(app(standalone_mode=False) or 0)
    except GptModelError as error:
        _fail(str(error), 2)
    except TyperException as error:
        hint = "; see --help" if error.exit_code == 2 else ""
        _fail(error.format_message().rstrip(".") + hint, 2)
    except typer.Abort:
        sys.exit(1)
    except Interrupted as stop:
        _fail(str(stop), stop.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; do not complain at exit
        sys.exit(1)
    except OSError as error:
        if _folder_is_gone():
            _fail("the folder that this command was started in is gone; change to another one and run it there", 2)
        if error.errno not in MENDABLE:
            raise
        name = error.filename2 or error.filename  # of a rename, the name that was to be
        where = f"{name}: " if name else ""
        _fail(f"{where}{error.strerror}; {MENDABLE[error.errno]}, then run the same command again: nothing is lost", 2)
    except Exception as error:
        if shortage := _shortage(error):
            _fail(shortage, 2)
        raise


def _shortage(error: Exception) -> str:
    """Return the line for an error that the machine's limits are to blame for, or nothing."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return NO_THREAD if "can't start new thread" in str(error) else ""


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _terminate(signum: int, _frame: object) -> None:
    raise Interrupted(signum, f"stopped by {signal.Signals(signum).name}")


def _fail(message: str, status: int) -> None:
    note(f"error: {' '.join(message.split())}" if status == 2 else " ".join(message.split()))
    sys.exit(status)
