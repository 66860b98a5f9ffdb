"""The stage's handle on the helper process that sends its journal while it works.

The journal is all they share; the stage only says when to hurry: `wake`, `close`. When the stage is killed, the process
marks the run KILLED, sends what it can and goes, within seconds. At the end of a round it tells {"failure": why not all
was sent, or null, "refused": [lines]}.
"""

from typing import Any

from gptmodel.tracking.helper import Helper, shortage
from gptmodel.tracking.journal import Journal

PROGRAM = "gptmodel.tracking.send_to_mlflow"
CLOSE_SECONDS = 30.0


class Sender:
    """The stage's end: starts the process, hears how far it is, and waits for it at the end, but not for long."""

    def __init__(self, journal: Journal, experiment: str, send_others: bool) -> None:
        self.failure: str | None = None
        self.refused: list[str] = []
        self._has_run = False
        self._helper: Helper | None = None
        arguments = [str(journal.root), journal.key, experiment, str(int(send_others))]
        try:
            with (journal.folder / "sender.log").open("wb") as log:
                self._helper = Helper(PROGRAM, arguments, journal.root, log, self._hear)
        except OSError as error:
            self.failure = f"the helper process that sends it cannot be started: {error}"

    def wake(self) -> None:
        """Ask for a sending soon."""
        if self._helper is not None:
            self._helper.say("wake")

    def wait_for_run(self, seconds: float) -> None:
        """Wait until the run is known, or sending failed or ended."""
        if self._helper is not None:
            self._helper.wait(seconds, lambda: self._has_run or self.failure is not None)

    def finish(self) -> None:
        """Ask for a last sending and wait while it gets on; then end the process, whatever it does.

        When not all was sent, `failure` says why.
        """
        if self._helper is None:
            return
        self._helper.say("close")
        try:
            self.failure = self._helper.wait(CLOSE_SECONDS) or self.failure
        finally:
            self._helper.kill()
        if self._helper.died:
            self.failure = self.failure or shortage() or "the helper process that sends it ended early (see sender.log)"

    def _hear(self, message: dict[str, Any]) -> None:
        self.failure, self.refused = message["failure"], message["refused"]
        self._has_run = self._has_run or self.failure is None
