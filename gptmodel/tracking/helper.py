"""A helper process that sends to a store, and what it and its caller say to each other.

It is a process, not a thread, so that nothing of it can slow, change, block or outlive its caller: its imports, waits
and memory are its own, and a hang ends with a kill. What is said over two pipes is:
- to the process, a word a line; when its standard input ends, its caller is gone;
- from it, a JSON object a line: {"doing": what begins now, "patience": seconds after which to stop waiting for it}, or
  what it has to tell, with "last": whether it ends now.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from gptmodel.compute.limits import memory_limit
from gptmodel.tracking.store import LONG
from gptmodel.units import size

ORPHAN_SECONDS = 15.0
MEMORY_BYTES = 1 << 30  # several times what a store needs
NEEDED_BYTES = 500_000_000  # by a store at most, nearly all of it for its libraries

Hear = Callable[[dict[str, Any]], None]


def shortage() -> str | None:
    """Return in a line that a helper process has less memory than a store needs; None where it has enough.

    Without enough, libraries end it or fail in words of their own, wherever they are at that moment.
    """
    limit = memory_limit()
    if limit.bytes >= NEEDED_BYTES:
        return None
    need = f"its libraries need up to {size(NEEDED_BYTES)} of memory"
    return f"{need}, and {limit.words} {size(limit.bytes)}; allow this command more"


class Helper:
    """The caller's end: starts the process, hears how far it is, and waits while it gets on."""

    def __init__(self, program: str, arguments: list[str], root: Path, log: IO[bytes], hear: Hear) -> None:
        """Start `python -m program arguments` in the folder `root`; OSError when that cannot be.

        What it prints goes to `log`. `hear` gets each message that is not about what begins, while `changed` is held.
        """
        self.changed = threading.Condition()
        self.ended = False
        self.died = False
        """Whether it ended without a last message."""
        self._hear = hear
        self._doing, self._patience, self._since = "starting", LONG, time.monotonic()
        self._process = start(program, arguments, root, {}, stdout=subprocess.PIPE, stderr=log)
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def say(self, word: str) -> None:
        """Say a word; nothing happens when the process has ended."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # `_listen` has seen the end
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> str | None:
        """Wait until something holds or the process ends; return in a line why not, if it takes too long.

        That is more than `seconds` in all, or than the process asked to be waited for with what it does now.
        """
        start = time.monotonic()
        with self.changed:
            while not self.ended and not until():
                limit = min(start + seconds, max(start, self._since) + self._patience)
                remaining = limit - time.monotonic()
                if remaining <= 0:
                    return f"it did not answer in time while {self._doing}"
                self.changed.wait(remaining)
        return None

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(OSError):  # a word that it has not read is lost
            self._process.stdin.close()

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                if line.endswith(b"\n"):  # else a kill tore it
                    self._take(json.loads(line))
        with self.changed:
            self.died = not self.ended
            self.ended = True
            self.changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        with self.changed:
            self._since = time.monotonic()
            if "doing" in message:
                self._doing, self._patience = message["doing"], message["patience"]
            else:
                self.ended = message.pop("last")
                self._hear(message)
            self.changed.notify_all()


def start(
    program: str,
    arguments: list[str],
    root: Path,
    settings: Mapping[str, str],
    *,
    stdout: int,
    stderr: int | IO[bytes],
) -> "subprocess.Popen[bytes]":
    """Start `python -m program arguments` of this package in a folder, with settings of the environment.

    It has a pipe to the caller, and Ctrl-C is for the caller, which then ends it in good order.
    """
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=root,
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
    )


class Caller:
    """The caller, as the helper process sees it: what it asked for, and what it is told.

    It takes the pipes to the caller for itself. Standard input is empty from then on, and standard output is the log:
    whoever prints, as MLflow does, prints there. It bounds the memory of the process, as a server can send without end.
    """

    def __init__(self) -> None:
        self.closing = False
        self.gone = False
        self._words, self._messages = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        _limit_memory()
        self._woken = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def report(self, doing: str, patience: float) -> None:
        """Say what begins now, and how long to wait for it; a `store.Report`."""
        self._write({"doing": doing, "patience": patience})

    def tell(self, *, last: bool, **message: object) -> None:
        """Tell it something else."""
        self._write({"last": last} | message)

    def wait(self, seconds: float) -> None:
        """Wait until it asks for something, but no longer than that."""
        self._woken.wait(seconds)
        self._woken.clear()

    def _write(self, message: dict[str, object]) -> None:
        with suppress(OSError):  # the caller is gone
            self._messages.write(json.dumps(message) + "\n")
            self._messages.flush()

    def _listen(self) -> None:
        for word in self._words:
            self.closing = self.closing or word.strip() == "close"
            self._woken.set()
        self.gone = not self.closing
        self.closing = True
        self._woken.set()
        time.sleep(ORPHAN_SECONDS)  # nobody waits for the rest any more, and the journals have it
        os._exit(1)


def _limit_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    with suppress(ValueError, OSError):  # macOS counts addresses, of which a process has more from its start
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
