"""Figures of several rounds as median and spread, and tables in Markdown."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the lowest, the middle and the highest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratio in each round."""
    return spread([value / other for value, other in zip(values, others, strict=True)])


def cell(values: dict[str, float], digits: int = 1, factor: float = 1.0) -> str:
    """Return the median, and in brackets the lowest and the highest, each times `factor`."""
    low, middle, high = (f"{factor * values[key]:,.{digits}f}" for key in ("min", "median", "max"))
    return f"{middle} ({low}–{high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(results: dict[str, Any]) -> str:
    """Say with how many threads, in how many rounds and by which clock results were measured."""
    counts = "; ".join(f"{name}: {results[name]}" for name in ("threads", "rounds") if name in results)
    clock = " Seconds are those of the processor." if results.get("clock") == "processor" else ""
    return f"{counts.capitalize()}.{clock}"
