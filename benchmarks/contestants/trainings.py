"""Whole trainings with the library, evaluations and all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptmodel.config import Params
    from gptmodel.data.prepared import PreparedData
    from gptmodel.evaluation.history import Evaluation
    from gptmodel.training.run import TrainingRun


@dataclass(frozen=True)
class Lines:
    """Tells warnings, and evaluations where asked, in a line each."""

    tell: Callable[[str], None]
    evaluations: bool = True

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None:
        pass

    def on_evaluation(self, row: "Evaluation") -> None:
        if self.evaluations:
            self.tell(f"    {row.seconds:6.1f} s  iteration {row.iteration:5}  val {row.val_loss:.4f}")

    def on_warning(self, line: str) -> None:
        self.tell(line)


def _never() -> bool:
    return False


@contextmanager
def trained(
    runs: Path, data: "PreparedData", params: "Params", lines: Lines, stopped: Callable[[], bool] = _never
) -> Iterator["TrainingRun"]:
    """Train to the end, or until stopped, and hand out the run while it is open; its snapshots are removed."""
    from gptmodel.training.loop import Hooks, fit
    from gptmodel.training.run import TrainingRun

    with TrainingRun.open(runs, data, params) as training:
        hooks = Hooks(observer=lines, save=training.save, stopped=stopped)
        fit(training.state, training.splits, params, training.place, hooks)
        training.forget()
        yield training
