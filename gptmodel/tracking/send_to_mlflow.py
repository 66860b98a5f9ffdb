"""The program of the helper process that sends a stage's journal to MLflow while it works.

`sender` starts `python -m gptmodel.tracking.send_to_mlflow ROOT KEY EXPERIMENT OTHERS` and says what is told.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from gptmodel.tracking.delivery import Delivery
from gptmodel.tracking.failures import plain
from gptmodel.tracking.helper import Caller
from gptmodel.tracking.journal import Journal, journals
from gptmodel.tracking.liveness import end_if_dead, is_unsent
from gptmodel.tracking.mlflow_store import MlflowStore

POLL_SECONDS = 3.0
BACKOFF_SECONDS = (5.0, 300.0)  # first and longest pause after a failure


def main() -> None:
    """Send one journal, again and again, until its stage closes or dies."""
    stage = Caller()
    root, key, experiment, send_others = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "1"
    if hasattr(os, "nice"):
        os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    journal = Journal(root, key)
    delivery = Delivery(MlflowStore(root), stage.report, experiment)
    others = _others(root, journal) if send_others else iter(())
    pause = POLL_SECONDS
    while True:
        closing, failure = stage.closing, None
        try:
            if stage.gone:
                end_if_dead(journal)
            if closing or journal.pending:
                delivery.send(journal)
            pause = POLL_SECONDS
            if not closing and _send_next(others, delivery):
                pause = 0.0
        except Exception as error:  # of any library, of any kind: the journal keeps what could not be sent
            failure = plain(error)
            pause = min(max(2 * pause, BACKOFF_SECONDS[0]), BACKOFF_SECONDS[1])
        stage.tell(last=closing, failure=failure, refused=delivery.refused)
        if closing:
            os._exit(0)  # the interpreter's own end takes a second after such imports
        stage.wait(pause)


def _others(root: Path, own: Journal) -> Iterator[Journal]:
    """Yield the journals that were there when the first was asked for, but for this run's, the oldest first."""
    yield from (journal for journal in journals(root) if journal.key != own.key)


def _send_next(others: Iterator[Journal], delivery: Delivery) -> bool:
    """Send the next of the journals that earlier runs left; return whether there may be more.

    One that cannot be sent is left to `gptmodel sync`: this run can go on without it.
    """
    for journal in others:  # which goes on behind the last one: to look at each anew takes minutes with many
        try:
            if is_unsent(journal):
                delivery.send(journal)
                return True
        except Exception:  # whatever it is about this one
            return True
    return False


if __name__ == "__main__":
    main()
