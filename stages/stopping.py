"""Stopping in good order: the first signal asks, a second SIGINT or SIGTERM ends the process at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from gptmodel.errors import Interrupted


class StopSignals:
    """While the block runs, a signal is remembered instead of raised."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for signum in (signal.SIGINT, *ending_signals()):
            self._former[signum] = signal.signal(signum, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._former.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raise Interrupted if a signal came, before there is a state to save."""
        if self.received is not None:
            raise Interrupted(
                self.received, f"stopped by {signal.Signals(self.received).name}; run the same command to go on"
            )

    @contextmanager
    def blamed(self, kind: type[Exception]) -> Iterator[None]:
        """Take such an error of the block for the doing of the signal, if one came."""
        try:
            yield
        except kind:
            self.check()
            raise

    def _remember(self, signum: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signum
        elif signum in (signal.SIGINT, signal.SIGTERM):  # SIGHUP comes twice when a terminal is closed
            os._exit(128 + signum)


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a command but for Ctrl-C's; SIGHUP is one, unless `nohup` has it ignored."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


def terminate(signum: int, _frame: object) -> None:
    """Handle a signal that ends a command."""
    if signum != signal.SIGTERM:  # a terminal that closes may say so twice: let nothing disturb the tidying up
        signal.signal(signum, signal.SIG_IGN)
    raise Interrupted(signum, f"stopped by {signal.Signals(signum).name}")
