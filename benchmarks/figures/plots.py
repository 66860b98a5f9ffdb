"""The plots of docs/BENCHMARKS.md. Each file says in its metadata which results it shows, so that a test can ask."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "n_embd": "width (n_embd)",
    "n_layer": "depth (n_layer)",
    "block_size": "block_size",
    "batch_size": "batch_size",
    "threads": "threads",
    "megabytes": "MB of text, prepared",
}
HIGHEST = 2.6  # losses above tell nothing


def loss_over_time(results: Results, figure: "Figure") -> None:
    """Draw the val loss of each preset's runs over seconds, a colour each."""
    figure.set_size_inches(7, 4.2)
    axes = figure.subplots()
    for number, (label, runs) in enumerate(results["runs"].items()):
        for run in runs:
            rows = run["history"][1:]  # nothing is learnt at first, and a logarithm has no zero
            seconds, losses = [row["seconds"] for row in rows], [row["val_loss"] for row in rows]
            axes.plot(seconds, losses, color=f"C{number}", linewidth=1.2, label=label if run is runs[0] else None)
    for level in results["levels"]:
        axes.axhline(level, color="grey", linewidth=0.8, linestyle="--")
        axes.annotate(f"{level:g}", (1.0, level), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set(title="Val loss over the time of training", xlabel="seconds", ylabel="loss (nats per token)")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(top=HIGHEST)
    axes.legend()


def scaling(results: Results, figure: "Figure") -> None:
    """Draw a panel for each size: the time on logarithmic axes, its spread, and a line of exponent 1."""
    axes = results["axes"]
    rows = -(-len(axes) // 3)
    figure.set_size_inches(9, 2.6 * rows)
    panels = figure.subplots(rows, 3, squeeze=False).flat
    for panel, (axis, points) in zip(panels, axes.items(), strict=False):
        values = [point["value"] for point in points]
        low, middle, high = ([point["milliseconds"][key] for point in points] for key in ("min", "median", "max"))
        panel.fill_between(values, low, high, alpha=0.3, linewidth=0)
        panel.plot(values, middle, marker="o", markersize=3)
        slope = -1 if axis == "threads" else 1
        linear = [middle[-1] * (value / values[-1]) ** slope for value in values]
        panel.plot(values, linear, color="grey", linewidth=0.8, linestyle="--", label="linear")
        panel.set(xscale="log", yscale="log", xlabel=LABELS[axis], ylabel="ms")
        panel.set_xticks(values, [f"{value}" for value in values])
        panel.minorticks_off()
        panel.legend(fontsize="small")
    for panel in list(figure.axes)[len(axes) :]:
        panel.remove()


def digest(results: Results) -> str:
    """Return what stands in the metadata of a plot of these results."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def save(draw: Callable[[Results, "Figure"], None], results: Results, path: Path) -> None:
    """Draw results into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(results, figure)
    figure.savefig(path, dpi=110, metadata={"Software": None, "Description": digest(results)})
