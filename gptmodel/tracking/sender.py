"""The helper process that sends a journal while the stage works, and the handle the stage holds on it.

It is a process, not a thread, so that nothing of it can slow, change, block or outlive a run: its imports and
waits are its own, a hang ends with a kill, and when the stage is killed it sees its standard input end, marks the
run KILLED, sends what it can and goes, within seconds. The journal is all they share; what is
said over the pipes is only when to hurry and how far it got.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from gptmodel.tracking.delivery import Delivery, end_if_dead, unsent
from gptmodel.tracking.journal import Journal
from gptmodel.tracking.store import LONG

POLL_SECONDS = 3.0
BACKOFF_SECONDS = (5.0, 300.0)  # first and longest pause after a failure
CLOSE_SECONDS = 30.0
ORPHAN_SECONDS = 15.0

# no retries inside MLflow: they take minutes, and the sender has its own
SENDER_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
}


def plain(error: BaseException) -> str:
    """Return the cause of a failure in one line: the system's own words, where there are any."""
    innermost = error
    while cause := innermost.__cause__ or innermost.__context__:
        innermost = cause
    if isinstance(innermost, TimeoutError):
        return "it did not answer in time"
    if isinstance(innermost, OSError) and innermost.strerror:
        text = f"{innermost.strerror}{f': {innermost.filename}' if innermost.filename else ''}"
    else:
        text = str(innermost if isinstance(innermost, OSError | sqlite3.Error) else error)
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:197]}..."


class Sender:
    """The stage's end: starts the process, hears how far it is, and waits for it at the end, but not for long."""

    def __init__(self, journal: Journal, send_others: bool) -> None:
        self.failure: str | None = None
        self.refused: list[str] = []
        self._run_known = False
        self._stage, self._patience, self._since = "starting", LONG, time.monotonic()
        self._finished = False
        self._changed = threading.Condition()
        package = Path(__file__).resolve().parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = SENDER_ENVIRONMENT | dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-P", "-m", __name__, str(journal.root), journal.key, str(int(send_others))]
        with (journal.folder / "sender.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=journal.root,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the stage, which then closes in good order
            )
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def wake(self) -> None:
        """Ask for a sending soon."""
        self._say("wake")

    def wait_for_run(self, seconds: float) -> None:
        """Wait until the run is known, or sending failed or ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._run_known or self.failure or self._finished, timeout=seconds)

    def finish(self) -> None:
        """Ask for a last sending and wait while it gets on; then end the process, whatever it does.

        When not all was sent, `failure` says why.
        """
        self._say("close")
        try:
            self._wait_while_it_gets_on()
        finally:
            self._process.kill()
            self._process.wait()

    def _wait_while_it_gets_on(self) -> None:
        start = time.monotonic()
        with self._changed:
            while not self._finished:
                limit = min(start + CLOSE_SECONDS, max(start, self._since) + self._patience)
                left = limit - time.monotonic()
                if left <= 0:
                    self.failure = f"it did not answer in time while {self._stage}"
                    break
                self._changed.wait(left)

    def _say(self, word: str) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()
        except (OSError, ValueError):  # it ended: `_listen` has seen that
            pass

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._hear(json.loads(line))
        with self._changed:
            if not self._finished:
                self.failure = self.failure or "the helper process that sends it ended early (see sender.log)"
                self._finished = True
            self._changed.notify_all()

    def _hear(self, message: dict[str, Any]) -> None:
        with self._changed:
            self._since = time.monotonic()
            if "stage" in message:
                self._stage, self._patience = message["stage"], message["patience"]
            else:
                self.failure, self.refused = message["failure"], message["refused"]
                self._run_known = self._run_known or self.failure is None
                self._finished = message["last"]
            self._changed.notify_all()


class _Inbox:
    """The process's end: what the stage asked for."""

    def __init__(self) -> None:
        self.closing = False
        self.orphaned = False
        self._woken = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    def _listen(self) -> None:
        for word in sys.stdin:
            self.closing = self.closing or word.strip() == "close"
            self._woken.set()
        self.orphaned = not self.closing
        self.closing = True
        self._woken.set()
        time.sleep(ORPHAN_SECONDS)  # nobody waits for the rest any more, and the journal has it
        os._exit(1)


def _tell(message: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except OSError:  # the stage is gone
        pass


def main() -> None:
    """Send one journal, again and again, until its stage closes or dies."""
    from gptmodel.tracking.mlflow_tracker import MlflowStore

    root, key, send_others = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "1"
    if hasattr(os, "nice"):
        os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    journal, inbox = Journal(root, key), _Inbox()
    delivery = Delivery(MlflowStore(root), lambda stage, patience: _tell({"stage": stage, "patience": patience}))
    pause = POLL_SECONDS
    while True:
        closing, failure = inbox.closing, None
        try:
            if inbox.orphaned:
                end_if_dead(journal)
            if closing or journal.pending:
                delivery.send(journal)
            pause = POLL_SECONDS
            if send_others and not closing:
                send_others = _send_one_other(root, journal, delivery)
                pause = 0.0 if send_others else pause
        except Exception as error:  # of any library, of any kind: the journal keeps what could not be sent
            failure = plain(error)
            pause = min(max(2 * pause, BACKOFF_SECONDS[0]), BACKOFF_SECONDS[1])
        _tell({"failure": failure, "refused": delivery.refused, "last": closing})
        if closing:
            os._exit(0)  # the interpreter's own end takes a second after such imports
        inbox.wait(pause)


def _send_one_other(root: Path, own: Journal, delivery: Delivery) -> bool:
    """Send the oldest journal that an earlier run left; return whether there may be more."""
    for journal in unsent(root):
        if journal.key != own.key:
            delivery.send(journal)
            return True
    return False


if __name__ == "__main__":
    main()
