"""The trials of a study as a table, the best first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gptmodel.tuning.trial import Row
from gptmodel.units import setting

STATES = ("complete", "pruned", "refused", "under way", "waiting")


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table of trials."""
    head = ("trial", "state", "iteration", "val loss", "settings")
    lines = [head, *(_cells(row) for row in sorted(rows, key=_place))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return [
        f"{trial:>{widths[0]}}  {state:<{widths[1]}}  {iteration:>{widths[2]}}  {loss:>{widths[3]}}  {rest}".rstrip()
        for trial, state, iteration, loss, rest in lines
    ]


def counted(rows: Sequence[Row]) -> str:
    """Return how many trials are in which state."""
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none yet"


def settings(values: Mapping[str, Any]) -> str:
    """Return settings for readers."""
    return " ".join(f"{name}={setting(value)}" for name, value in values.items())


def _place(row: Row) -> tuple[int, float, int]:
    loss = row.val_loss if row.val_loss is not None else float("inf")
    return STATES.index(row.state), loss, row.number


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    iteration = "" if row.iteration is None else f"{row.iteration:,}"
    loss = "" if row.val_loss is None else f"{row.val_loss:.4f}"
    remark = f"  ({row.remark})" if row.remark else ""
    return str(row.number), row.state, iteration, loss, settings(row.values) + remark
