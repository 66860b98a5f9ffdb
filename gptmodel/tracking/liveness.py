"""Whether the process that writes a journal is alive, and the end of a run whose process died without a word."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from filelock import FileLock, Timeout

from gptmodel.tracking.journal import Journal
from gptmodel.tracking.journal_writer import JournalWriter


@contextmanager
def _if_dead(journal: Journal) -> Iterator[bool]:
    """Tell whether no training process lives that writes to this journal, and keep others from starting one."""
    lock = FileLock(journal.alive_lock, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def end_if_dead(journal: Journal) -> bool:
    """Log status KILLED for a run whose process is gone without a word; return whether its process is gone."""
    with _if_dead(journal) as dead:
        if dead and journal.last_status() == "RUNNING":
            last_sign_of_life = journal.events_file.stat().st_mtime_ns // 1_000_000
            with closing(JournalWriter(journal)) as writer:
                writer.event("status", value="KILLED", ms=last_sign_of_life)
        return dead


def is_unsent(journal: Journal) -> bool:
    """Whether a journal has something to send and its training process is gone; one that died is ended first.

    Raises whatever a damaged journal gives rise to.
    """
    return end_if_dead(journal) and journal.pending
