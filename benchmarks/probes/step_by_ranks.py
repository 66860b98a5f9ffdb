"""Train steps of two parts, in one process or several: `python -m benchmarks.probes.step_by_ranks SIZES THREADS N F`.

The first process writes to the file F how many milliseconds an iteration took, how many numbers are exchanged in one,
and how many milliseconds that takes.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.contestants.loops import ours
from benchmarks.contestants.models import our_model, our_params
from benchmarks.contestants.sizes import ALL_SIZES
from gptmodel.compute.ranks import joined

WARM_UP = 3
EXCHANGES = 15


def main(name: str, threads: str, iterations: str, file: str) -> None:
    """Train, and time it."""
    with joined(600) as world:
        train = ours(ALL_SIZES[name], int(threads), parts=2, world=world)
        train(WARM_UP)
        started = time.perf_counter()
        train(int(iterations))
        seconds = time.perf_counter() - started
        model = our_model(our_params(ALL_SIZES[name], device="cpu"))
        numbers, times = sum(p.numel() for p in model.parameters()), []
        for _ in range(EXCHANGES):
            gradients = [torch.ones(numbers)]
            began = time.perf_counter()
            world.summed(gradients)
            times.append(time.perf_counter() - began)
        if world.is_first:
            result = {
                "milliseconds": 1e3 * seconds / int(iterations),
                "numbers": numbers,
                "exchange": 1e3 * median(times),
            }
            Path(file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
