"""Pictures of a run: loss curves, and the loss by position in the block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # files only: no display is needed
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from gptmodel.evaluation.history import Evaluation
from gptmodel.files import atomic_writer

TRAIN_COLOUR, VAL_COLOUR = "#1f77b4", "#d95f02"


def plot_evaluation(folder: Path, history: Sequence[Evaluation], train: np.ndarray, val: np.ndarray) -> None:
    """Draw both pictures into a folder; without history no loss curves. `train` and `val` are losses by position."""
    if history:
        plot_loss_curves(folder / "loss_curves.png", history)
    plot_loss_by_position(folder / "loss_by_position.png", train, val)


def plot_loss_curves(path: Path, history: Sequence[Evaluation]) -> None:
    """Draw train and val loss over the iterations and mark the best val loss."""
    iterations = [row.iteration for row in history]
    train, val = [row.train_loss for row in history], [row.val_loss for row in history]
    best = int(np.argmin(val))
    with _figure(path, "Loss during training", "iteration") as axes:
        axes.plot(iterations, train, color=TRAIN_COLOUR, label=f"train, last {train[-1]:.3f}")
        axes.plot(iterations, val, color=VAL_COLOUR, label=f"val, last {val[-1]:.3f}")
        axes.plot(
            iterations[best],
            val[best],
            "o",
            color=VAL_COLOUR,
            label=f"best val {val[best]:.3f} at iteration {iterations[best]}",
        )


def plot_loss_by_position(path: Path, train: np.ndarray, val: np.ndarray) -> None:
    """Draw the loss at each position in the block, (T,) each: what context is worth."""
    with _figure(path, "Loss by position in the block", "position (tokens of context)") as axes:
        axes.plot(np.arange(1, len(train) + 1), train, color=TRAIN_COLOUR, label=f"train, mean {train.mean():.3f}")
        axes.plot(np.arange(1, len(val) + 1), val, color=VAL_COLOUR, label=f"val, mean {val.mean():.3f}")


@contextmanager
def _figure(path: Path, title: str, xlabel: str) -> Iterator[Axes]:
    """Yield the axes of a new figure, which is written to `path` at the end; a user's matplotlibrc changes nothing."""
    with mpl.rc_context():
        mpl.rcdefaults()
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        axes.set_title(title)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("loss (nats per token)")
        yield axes
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        with atomic_writer(path) as stream:
            figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
        plt.close(figure)
