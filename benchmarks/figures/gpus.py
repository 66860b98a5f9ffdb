"""The parts of the GPU benchmark put together: each may come from a command of its own."""

from collections.abc import Sequence

from benchmarks.figures.results import Results


def parts_together(runs: Sequence[Results]) -> Results:
    """Return one run's results from several: the checks, trainings and rates, and all sizes that were timed."""
    every: Results = {}
    for results in runs:
        sizes = {**every.get("speed", {}), **results.get("speed", {})}
        every = {**every, **results, "peak": max(every.get("peak", 0.0), results.get("peak", 0.0))}
        if sizes:
            every["speed"] = sizes
    return every
