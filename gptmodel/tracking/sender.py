"""The stage's handle on the helper process that sends its journal while it works.

It is a process, not a thread, so that nothing of it can slow, change, block or outlive a run: its imports and
waits are its own, a hang ends with a kill, and when the stage is killed it sees its standard input end, marks the
run KILLED, sends what it can and goes, within seconds. The journal is all they share; what is said over two pipes is
only when to hurry and how far it got:
- to the process, a word a line: `wake`, `close`;
- from it, a JSON object a line: {"doing": what begins now, "patience": seconds after which to stop waiting for it} or,
  at the end of a round, {"failure": why not all was sent, or null, "refused": [lines], "last": whether it ends now}.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from gptmodel.tracking.journal import Journal
from gptmodel.tracking.store import LONG

PROGRAM = "gptmodel.tracking.send_to_mlflow"
CLOSE_SECONDS = 30.0


class Sender:
    """The stage's end: starts the process, hears how far it is, and waits for it at the end, but not for long."""

    def __init__(self, journal: Journal, send_others: bool) -> None:
        self.failure: str | None = None
        self.refused: list[str] = []
        self._has_run = False
        self._doing, self._patience, self._since = "starting", LONG, time.monotonic()
        self._ended = False
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = _start(journal, send_others)
        except OSError as error:
            self.failure = f"the helper process that sends it cannot be started: {error}"
            self._ended = True
        else:
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def wake(self) -> None:
        """Ask for a sending soon."""
        self._say("wake")

    def wait_for_run(self, seconds: float) -> None:
        """Wait until the run is known, or sending failed or ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_run or self.failure or self._ended, timeout=seconds)

    def finish(self) -> None:
        """Ask for a last sending and wait while it gets on; then end the process, whatever it does.

        When not all was sent, `failure` says why.
        """
        if self._process is None:
            return
        self._say("close")
        try:
            self._wait_while_it_gets_on()
        finally:
            self._process.kill()
            self._process.wait()

    def _wait_while_it_gets_on(self) -> None:
        start = time.monotonic()
        with self._changed:
            while not self._ended:
                limit = min(start + CLOSE_SECONDS, max(start, self._since) + self._patience)
                remaining = limit - time.monotonic()
                if remaining <= 0:
                    self.failure = f"it did not answer in time while {self._doing}"
                    break
                self._changed.wait(remaining)

    def _say(self, word: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()
        except (OSError, ValueError):  # it ended: `_listen` has seen that
            pass

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            if line.endswith(b"\n"):  # else a kill tore it
                self._hear(json.loads(line))
        with self._changed:
            if not self._ended:
                self.failure = self.failure or "the helper process that sends it ended early (see sender.log)"
                self._ended = True
            self._changed.notify_all()

    def _hear(self, message: dict[str, Any]) -> None:
        with self._changed:
            self._since = time.monotonic()
            if "doing" in message:
                self._doing, self._patience = message["doing"], message["patience"]
            else:
                self.failure, self.refused = message["failure"], message["refused"]
                self._has_run = self._has_run or self.failure is None
                self._ended = message["last"]
            self._changed.notify_all()


def _start(journal: Journal, send_others: bool) -> "subprocess.Popen[bytes]":
    """Start the process; its standard error is sender.log in the journal's folder."""
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-P", "-m", PROGRAM, str(journal.root), journal.key, str(int(send_others))]
    with (journal.folder / "sender.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=journal.root,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the stage, which then closes in good order
        )
