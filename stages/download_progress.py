"""What the user sees of a download, if it takes longer than a few seconds."""

import time
from typing import TYPE_CHECKING

from gptmodel.units import size
from stages.command import note
from stages.debugger import when_called
from stages.progress import chosen_style

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class DownloadReporter:
    """Tells the user how a download goes, if it takes longer than a few seconds."""

    FIRST_SECONDS, SECONDS = 3.0, 10.0
    """When the first line comes, and how far apart the others are."""

    def __init__(self, source: str, progress: str) -> None:
        self.source, self.style = source, chosen_style(progress)
        self.started = time.perf_counter()
        self.due = self.FIRST_SECONDS
        self.bar: Progress | None = None
        self.task: TaskID

    def __call__(self, received: int, total: int | None) -> None:
        """Show how much of the download has come."""
        elapsed = time.perf_counter() - self.started
        if self.bar is not None:
            self.bar.update(self.task, completed=received, total=total)
        elif elapsed >= self.due and self.style == "bar":
            self._open_bar(received, total)
        elif elapsed >= self.due and self.style == "lines":
            self.due = elapsed + self.SECONDS
            of = f" of {size(total)}" if total else ""
            note(f"downloading {self.source}: {size(received)}{of}, {size(received / elapsed)}/s")

    def close(self) -> None:
        """Leave the bar as it is, and the cursor below it."""
        if self.bar is not None:
            self.bar.stop()

    def _open_bar(self, received: int, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("downloading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self.bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
        when_called(self.bar.stop)
        self.bar.start()
        self.task = self.bar.add_task("", completed=received, total=total)
