"""How a training and a download are shown: a bar on a terminal, lines elsewhere. Each evaluation is tracked."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from stages.command import note, tell
from stages.debugger import is_debugged, when_called
from stages.rank import rank

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from gptmodel.config import Params, TrainParams
    from gptmodel.evaluation.history import Evaluation
    from gptmodel.tracking.tracker import Tracker
    from gptmodel.training.run import TrainResult


def chosen_style(progress: str) -> str:
    """Return what runtime.progress comes to here: bar, lines or none."""
    if rank():
        return "none"
    if progress == "auto":
        return "bar" if sys.stderr.isatty() and not is_debugged() else "lines"
    return progress


def log_row(tracker: "Tracker", row: "Evaluation") -> None:
    """Track an evaluation of a training."""
    losses = {"train_loss": row.train_loss, "val_loss": row.val_loss}
    tracker.log_metrics({**losses, "learning_rate": row.learning_rate}, step=row.iteration)


class Reporter:
    """Tells the user and the tracker how a training goes."""

    def __init__(
        self,
        tracker: "Tracker",
        params: "Params",
        first_iteration: int,
        evaluated: "Callable[[], object] | None" = None,
        *,
        lines: bool = True,
    ) -> None:
        self.style = chosen_style(params.runtime.progress)
        self.lines, self.has_lines = lines, lines and self.style == "lines"
        self.tracker = tracker
        self.evaluated = None if rank() else evaluated  # what else is to be done then, such as to write files
        self.first_iteration, self.max_iters = first_iteration, params.train.max_iters
        self.iteration = first_iteration
        self.batch_tokens = params.train.batch_size * params.model.block_size
        self.started = time.perf_counter()
        self.losses = ""
        self.bar: Progress | None = None
        self.task: TaskID

    def display(self) -> "AbstractContextManager[object]":
        """Show the bar, if that is the style, while the block runs."""
        if self.style != "bar":
            return nullcontext()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("iteration {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self.task = self.bar.add_task("", total=self.max_iters, completed=self.first_iteration, losses="", speed="")
        when_called(self._give_way)
        return self.bar

    def _give_way(self) -> None:
        """Show lines in place of the bar from now on."""
        if self.bar is not None:
            self.bar.stop()
            self.bar, self.has_lines = None, self.lines

    def speed(self) -> float:
        """Return tokens per second since the start of this process, evaluations included."""
        elapsed = time.perf_counter() - self.started
        return (self.iteration - self.first_iteration) * self.batch_tokens / max(elapsed, 1e-9)

    def on_iteration(self, iteration: int, loss: "Callable[[], float]") -> None:
        """Move the bar."""
        self.iteration = iteration
        if (bar := self.bar) is not None:  # which another thread may take away
            speed = f"{self.speed():,.0f} tokens/s"
            bar.update(self.task, completed=iteration, losses=self.losses or f"batch {loss():.3f}", speed=speed)

    def on_warning(self, line: str) -> None:
        """Show a warning."""
        note(f"warning: {line}")

    def on_evaluation(self, row: "Evaluation") -> None:
        """Track both losses and show them."""
        log_row(self.tracker, row)
        if self.evaluated is not None:
            with suppress(OSError):  # they are written at the end again: a full disk shows then
                self.evaluated()
        self.losses = f"train {row.train_loss:.4f} val {row.val_loss:.4f}"
        if (bar := self.bar) is not None:
            bar.update(self.task, losses=self.losses)
        if not self.has_lines:
            return
        line = f"iteration {row.iteration:>{len(str(self.max_iters))}}/{self.max_iters}  {self.losses}"
        if row.iteration > self.first_iteration:
            speed = self.speed()  # the training may be past the row
            left = (self.max_iters - self.iteration) * self.batch_tokens / speed
            line += f"  {speed:,.0f} tokens/s  {left:.0f} s left"
        tell(line)


def tell_result(result: "TrainResult", model: "Path", train: "TrainParams") -> None:
    """Tell what a training made, and how it ended."""
    times = "evaluation" if train.patience == 1 else "evaluations"
    early = f" of {train.max_iters:,}, after {train.patience} {times} without a lower val loss"
    ended = early if result.iterations < train.max_iters else ""
    kept = "at the end" if train.keep == "last" else f"kept the weights after iteration {result.kept_iteration:,}"
    tell(
        f"{model}: {result.parameters:,} parameters, {result.iterations:,} iterations{ended} "
        f"({result.tokens:,} tokens) in {result.seconds:.0f} s; {kept}, on up to {train.eval_iters:,} batches of "
        f"each split: train loss {result.train_loss:.4f}, val loss {result.val_loss:.4f} (estimates)"
    )
