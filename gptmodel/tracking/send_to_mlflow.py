"""Sending journals to MLflow: as the program of a helper process, while a stage works, and in the foreground.

`sender` starts `python -m gptmodel.tracking.send_to_mlflow ROOT KEY OTHERS` and says what goes over its pipes.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from gptmodel.errors import GptModelError
from gptmodel.tracking.delivery import Delivery, end_if_dead, is_unsent
from gptmodel.tracking.journal import Journal, journals
from gptmodel.tracking.mlflow_store import MlflowStore, plain

POLL_SECONDS = 3.0
BACKOFF_SECONDS = (5.0, 300.0)  # first and longest pause after a failure
ORPHAN_SECONDS = 15.0


class UnsentError(GptModelError):
    """Some runs were not sent; `lines` says what was done all the same, and why others were not, a line each."""

    def __init__(self, address: str, reason: str, left: str, lines: list[str]) -> None:
        super().__init__(f"MLflow at {address}: {reason}; {left} runs are still to be sent")
        self.lines = lines


def sync(root: Path) -> list[str]:
    """Send what earlier runs could not, and return what was done, a line each.

    A journal that cannot be sent holds back no other. Raises UnsentError when all were tried, or at once where the
    store cannot be used; what was not sent stays where it was.
    """
    store = MlflowStore(root)
    waiting, failures = _examine(root)
    total, lines = len(waiting) + len(failures), list[str]()
    for count, journal in enumerate(waiting):
        delivery = Delivery(store, lambda *_: None)
        try:
            store.connect(lambda *_: None)
        except Exception as error:
            left = len(failures) + len(waiting) - count
            raise UnsentError(store.address, plain(error), f"{left} of {total}", lines) from error
        try:
            delivery.send(journal)
        except Exception as error:  # whatever it is about this one
            failures.append(_failure(journal, error))
            store = MlflowStore(root)  # before the next it is asked again whether it can be used
            continue
        lines.append(f"sent run {journal.run().get('run_id')} (runs/tracking/{journal.key})")
        lines += [f"MLflow refused {line}" for line in delivery.refused]
    if failures:
        *others, last = failures
        total = len(failures) + sum(line.startswith("sent run") for line in lines)
        raise UnsentError(
            store.address, last, f"{len(failures)} of {total}", lines + [f"not sent: {o}" for o in others]
        )
    return lines or [f"nothing to send: {store.address} has all runs of this project"]


def _examine(root: Path) -> tuple[list[Journal], list[str]]:
    """Return the journals with something to send, and why others cannot even be asked."""
    waiting, failures = [], []
    for journal in journals(root):
        try:
            if is_unsent(journal):
                waiting.append(journal)
        except Exception as error:  # whatever lies in that folder
            failures.append(_failure(journal, error))
    return waiting, failures


def _failure(journal: Journal, error: Exception) -> str:
    return f"runs/tracking/{journal.key}: {plain(error)}"


class _Stage:
    """The stage, as the helper process sees it: what it asked for, and what it is told.

    It takes the pipes to the stage for itself. Standard input is empty from then on, and standard output is sender.log:
    whoever prints, as MLflow does, prints there.
    """

    def __init__(self) -> None:
        self.closing = False
        self.gone = False
        self._words, self._reports = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._woken = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, **message: object) -> None:
        try:
            self._reports.write(json.dumps(message) + "\n")
            self._reports.flush()
        except OSError:  # the stage is gone
            pass

    def wait(self, seconds: float) -> None:
        """Wait until it asks for something, but no longer than that."""
        self._woken.wait(seconds)
        self._woken.clear()

    def _listen(self) -> None:
        for word in self._words:
            self.closing = self.closing or word.strip() == "close"
            self._woken.set()
        self.gone = not self.closing
        self.closing = True
        self._woken.set()
        time.sleep(ORPHAN_SECONDS)  # nobody waits for the rest any more, and the journal has it
        os._exit(1)


def main() -> None:
    """Send one journal, again and again, until its stage closes or dies."""
    stage = _Stage()
    root, key, send_others = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "1"
    if hasattr(os, "nice"):
        os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    journal = Journal(root, key)
    delivery = Delivery(MlflowStore(root), lambda doing, patience: stage.tell(doing=doing, patience=patience))
    pause, failed = POLL_SECONDS, set[str]()
    while True:
        closing, failure = stage.closing, None
        try:
            if stage.gone:
                end_if_dead(journal)
            if closing or journal.pending:
                delivery.send(journal)
            pause = POLL_SECONDS
            if send_others and not closing:
                send_others = _send_one_other(root, journal, delivery, failed)
                pause = 0.0 if send_others else pause
        except Exception as error:  # of any library, of any kind: the journal keeps what could not be sent
            failure = plain(error)
            pause = min(max(2 * pause, BACKOFF_SECONDS[0]), BACKOFF_SECONDS[1])
        stage.tell(failure=failure, refused=delivery.refused, last=closing)
        if closing:
            os._exit(0)  # the interpreter's own end takes a second after such imports
        stage.wait(pause)


def _send_one_other(root: Path, own: Journal, delivery: Delivery, failed: set[str]) -> bool:
    """Send the oldest journal that an earlier run left; return whether there may be more.

    One that cannot be sent is noted in `failed` and left to `sync`: this run can go on without it.
    """
    for journal in journals(root):
        if journal.key == own.key or journal.key in failed:
            continue
        try:
            if is_unsent(journal):
                delivery.send(journal)
                return True
        except Exception:  # whatever it is about this one
            failed.add(journal.key)
            return True
    return False


if __name__ == "__main__":
    main()
