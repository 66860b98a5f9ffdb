"""What all command lines share: the app, how they print, and the exit status that an error ends with."""

import atexit
import errno
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from gptmodel.errors import PEER_LOST, CommonError, GptModelError, Interrupted, PeerError, is_out_of_memory
from stages.rank import rank
from stages.stopping import ending_signals, terminate
from stages.streams import lost_output, open_streams, write

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


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a result on stdout, at once; GptModelError or BrokenPipeError where it cannot be printed."""
    tell(text, end=end)
    lost = lost_output(sys.stdout)
    if isinstance(lost, BrokenPipeError):
        raise lost
    if lost is not None:
        raise GptModelError(f"stdout: {lost.strerror}; mend that, and run the same command again")


def tell(text: str = "", *, end: str = "\n") -> None:
    """Print on stdout, at once, what goes with results that are files: where it cannot be printed, the work goes on."""
    if rank() == 0:
        write(sys.stdout, text + end, wrap=bool(end))


def note(line: str) -> None:
    """Tell the user something that is not a result, on stderr."""
    if rank() == 0:
        write(sys.stderr, f"{line}\n")


def new_app(**settings: Any) -> typer.Typer:
    """Return a Typer app that starts fast and leaves tracebacks as they are."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def main(app: Callable[..., Any]) -> None:
    """Run a command line and end the process with the documented status.

    0 done; 2 the user's input is wrong: one line on stderr; 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM;
    1 anything else, with its traceback, or nobody reads the results any more.
    """
    atexit.register(gc.freeze)  # to look for garbage in all that torch is takes half a second, before the end frees it
    open_streams()
    for signum in ending_signals():
        signal.signal(signum, terminate)
    try:
        Path.cwd()  # OSError where there is none
        status = app(standalone_mode=False) or 0
        if lost := lost_output(sys.stdout):
            note(f"warning: stdout: {lost.strerror}: not all output could be printed; everything else was done")
        sys.exit(status)
    except GptModelError as error:
        status = PEER_LOST if isinstance(error, PeerError) else 2
        _fail("" if rank() and isinstance(error, CommonError) else str(error), status)
    except TyperException as error:
        hint = "; see --help" if error.exit_code == 2 else ""
        _fail(error.format_message().rstrip(".").replace("Input should be", "it has to be") + hint, 2)
    except typer.Abort:
        sys.exit(1)
    except Interrupted as stop:
        _fail(str(stop) if rank() == 0 else "", stop.exit_status)
    except BrokenPipeError:
        sys.exit(1)  # nobody reads: nothing to complain about
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


def _fail(message: str, status: int) -> None:
    """End the process, with a line unless the message is empty."""
    if message:
        who = f"rank {rank()}: " if rank() else ""
        line = " ".join(part.strip() for part in message.splitlines() if part.strip())  # a name may have two spaces
        write(sys.stderr, f"{who}{'error: ' if status in (2, PEER_LOST) else ''}{line}\n")
    for signum in ending_signals():  # one that comes while the process ends would be shown with a traceback
        signal.signal(signum, signal.SIG_DFL)
    sys.exit(status)
