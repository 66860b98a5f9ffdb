"""Bringing the store up to date with all journals of the project: `gptmodel sync`.

A helper process does it, `python -m gptmodel.tracking.sync ROOT EXPERIMENT`, so that a server can neither hang it nor
fill the memory. It tells {"line": what was done} for each run, and at the end {"failure": why others are left}.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gptmodel.errors import GptModelError
from gptmodel.tracking.database import store_address
from gptmodel.tracking.delivery import Delivery
from gptmodel.tracking.failures import plain
from gptmodel.tracking.helper import Caller, Helper, shortage
from gptmodel.tracking.journal import Journal, journals
from gptmodel.tracking.liveness import end_if_dead, is_unsent
from gptmodel.tracking.mlflow_store import MlflowStore
from gptmodel.tracking.store import Report

PROGRAM = "gptmodel.tracking.sync"
PATIENCE = float("inf")  # in all: there is no limit while it gets on


class UnsentError(GptModelError):
    """Some runs were not sent; what was not sent stays where it was."""


def sync(root: Path, experiment: str | None = None) -> Iterator[str]:
    """Send what the store lacks of the project's runs; yield what was done, a line each, as it is done.

    A run whose experiment was deleted in the store goes to `experiment`. A journal that cannot be sent holds back no
    other. Raises UnsentError when all were tried, or at once where the store cannot be used.
    """
    messages: list[dict[str, Any]] = []
    with tempfile.TemporaryFile() as log:
        helper = Helper(PROGRAM, [str(root.resolve()), experiment or ""], root, log, messages.append)
        try:
            while True:
                trouble = helper.wait(PATIENCE, lambda: bool(messages))
                with helper.changed:
                    heard, messages[:] = messages[:], []
                yield from (message["line"] for message in heard if "line" in message)
                failure = next((message["failure"] for message in heard if message.get("failure")), trouble)
                if failure is None and helper.died:
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip().splitlines() or ["it was killed"]
                    failure = shortage() or f"the helper process that sends them ended early: {said[-1]}"
                if failure is not None:
                    raise UnsentError(f"MLflow at {store_address(root)}: {failure}")
                if helper.ended:
                    return
        finally:
            helper.kill()


def send_all(root: Path, experiment: str | None, report: Report, say: Callable[[str], None]) -> str | None:
    """Do what `sync` does in this process: `say` a line for each run, and return why others are left, if any are."""
    store = MlflowStore(root)
    if not journals(root):
        say("nothing to send: this project has no tracked runs")
        return None
    try:
        store.connect(report)
    except Exception as error:  # of any library, of any kind
        return f"{plain(error)}; {_left(root)}"
    waiting, failures = _examine(root, Delivery(store, report, experiment))
    total = len(waiting) + len(failures)
    for count, journal in enumerate(waiting):
        delivery = Delivery(store, report, experiment)
        try:
            store.connect(report)
        except Exception as error:
            left = len(failures) + len(waiting) - count
            return f"{plain(error)}; {left} of {total} runs are still to be sent"
        try:
            delivery.send(journal)
        except Exception as error:  # whatever it is about this one
            failures.append(_failure(journal, error))
            store = MlflowStore(root)  # before the next it is asked again whether it can be used
            continue
        say(f"sent run {journal.run().get('run_id')} (runs/tracking/{journal.key})")
        for line in delivery.refused:
            say(f"MLflow refused {line}")
    for line in failures[:-1]:
        say(f"not sent: {line}")
    if failures:
        return f"{failures[-1]}; {len(failures)} of {total} runs are still to be sent"
    if not waiting:
        say(f"nothing to send: {store.address} has all runs of this project")
    return None


def _examine(root: Path, delivery: Delivery) -> tuple[list[Journal], list[str]]:
    """Return the journals of which the store lacks something, and why others cannot even be asked."""
    waiting, failures = [], []
    for journal in journals(root):
        try:
            if end_if_dead(journal) and (journal.pending or delivery.lacks(journal)):
                waiting.append(journal)
        except Exception as error:  # whatever lies in that folder
            failures.append(_failure(journal, error))
    return waiting, failures


def _left(root: Path) -> str:
    """Return how many runs are left where the store cannot be asked which it has: those that no store was sent."""
    left, total = 0, len(journals(root))
    for journal in journals(root):
        try:
            left += is_unsent(journal)
        except Exception:  # one that cannot be read is left, too
            left += 1
    if not left:
        return f"whether it has the {total} {'run' if total == 1 else 'runs'} of this project cannot be told"
    return f"{left} of {total} runs are still to be sent"


def _failure(journal: Journal, error: Exception) -> str:
    return f"runs/tracking/{journal.key}: {plain(error)}"


def main() -> None:
    """Send all, and tell the caller."""
    caller = Caller()
    root, experiment = Path(sys.argv[1]), sys.argv[2] or None
    failure = send_all(root, experiment, caller.report, lambda line: caller.tell(last=False, line=line))
    caller.tell(last=True, failure=failure)
    os._exit(0)  # the interpreter's own end takes a second after such imports


if __name__ == "__main__":
    main()
