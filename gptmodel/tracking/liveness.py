"""Whether the process that writes a journal is alive, and the end of a run whose process died without a word."""

from contextlib import closing, suppress

from filelock import FileLock, Timeout

from gptmodel.tracking.journal import Journal
from gptmodel.tracking.journal_writer import JournalWriter


def end_if_dead(journal: Journal) -> bool:
    """Log status KILLED for a run whose process is gone without a word; return whether its process is gone."""
    with suppress(Timeout), FileLock(journal.alive_lock, timeout=0):  # so that nobody goes on with it meanwhile
        if journal.last_status() == "RUNNING":
            last_sign_of_life = journal.events_file.stat().st_mtime_ns // 1_000_000
            with closing(JournalWriter(journal)) as writer:
                writer.event("status", value="KILLED", ms=last_sign_of_life)
        return True
    return False


def is_unsent(journal: Journal) -> bool:
    """Whether a journal has something to send and its training process is gone; one that died is ended first.

    Raises whatever a damaged journal gives rise to.
    """
    return end_if_dead(journal) and journal.pending
