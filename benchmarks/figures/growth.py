"""How a cost grows from one size to the next, as exponents of power laws and in words."""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise

from benchmarks.figures.results import Results

LINEAR = 0.15  # exponents that differ from 1 by no more are called linear
WORDS = {"linear": "linear", "less": "less than linear", "more": "more than linear"}


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
        _, slopes, ends = zip(*group, strict=True)
        low, high = min(slopes), max(slopes)
        exponent = f"{low:.2f}" if len(slopes) == 1 else f"{low:.2f} to {high:.2f}"
        parts.append(f"{WORDS[kind]} from {ends[0][0]} to {ends[-1][1]} (exponent {exponent})")
    return ", ".join(parts) or "one point only"


def speed_up(points: Sequence[Results]) -> str:
    """Say how much faster more threads are than one."""
    first = points[0]["milliseconds"]["median"]
    speed_ups = [f"{first / p['milliseconds']['median']:.2f} with {p['value']} threads" for p in points[1:]]
    return f"a speed-up of {', '.join(speed_ups)}" if speed_ups else "one thread only"
