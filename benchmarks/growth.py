"""How a cost grows from one size to the next, as exponents of power laws and in words."""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise

from benchmarks.report import Results

LINEAR = 0.15  # exponents that differ from 1 by no more are called linear


def exponents(points: Sequence[Results]) -> list[float]:
    """Return the exponent of a power law through each point and the next."""
    times = [(point["value"], point["milliseconds"]["median"]) for point in points]
    return [math.log(b_time / a_time) / math.log(b / a) for (a, a_time), (b, b_time) in pairwise(times)]


def in_words(points: Sequence[Results]) -> str:
    """Say where cost grows less than linearly, linearly and more."""
    kinds = ["linear" if abs(e - 1) <= LINEAR else "less" if e < 1 else "more" for e in exponents(points)]
    steps = zip(kinds, exponents(points), pairwise(point["value"] for point in points), strict=True)
    parts = []
    for kind, group in groupby(steps, key=lambda step: step[0]):
        found = list(group)
        low, high = min(step[1] for step in found), max(step[1] for step in found)
        words = {"linear": "linear", "less": "less than linear", "more": "more than linear"}[kind]
        shown = f"{low:.2f}" if len(found) == 1 else f"{low:.2f} to {high:.2f}"
        parts.append(f"{words} from {found[0][2][0]} to {found[-1][2][1]} (exponent {shown})")
    return ", ".join(parts) or "one point only"


def speed_up(points: Sequence[Results]) -> str:
    """Say how much faster more threads are."""
    first = points[0]["milliseconds"]["median"]
    more = [
        f"{p['value']} threads are {first / p['milliseconds']['median']:.2f} times as fast as 1" for p in points[1:]
    ]
    return ", ".join(more) or "one thread only"
