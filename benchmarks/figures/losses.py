"""Losses over time in words: when a loss was first reached, and the runs of several commands as those of one."""

from collections.abc import Iterable, Sequence

from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, spread


def together(files: Iterable[Results]) -> Results:
    """Put the runs of several commands on one text together."""
    merged: Results = {}
    for results in files:
        merged = merged or {**results, "levels": [], "runs": {}}
        if results["text"]["sha256"] != merged["text"]["sha256"]:
            raise SystemExit(f"losses on {results['text']['name']} and on {merged['text']['name']} cannot be compared")
        merged["levels"] = sorted({*merged["levels"], *results["levels"]}, reverse=True)
        merged["runs"] |= {label: merged["runs"].get(label, []) + runs for label, runs in results["runs"].items()}
    return merged


def first_below(history: Sequence[Results], loss: float) -> float | None:
    """Return the seconds after which an evaluation was at most `loss`."""
    return next((row["seconds"] for row in history if row["val_loss"] <= loss), None)


def reached(runs: Sequence[Results], level: float) -> str:
    """Say when runs first reached a loss, or how many of them did."""
    times = [first_below(run["history"], level) for run in runs]
    seconds = [time for time in times if time is not None]
    if len(seconds) < len(runs):
        return f"{len(seconds)} of {len(runs)}" if seconds else "no"
    return cell(spread(seconds), 0)
