"""Train: `python -m benchmarks.probes.training_memory CONTESTANT SIZES THREADS ITERATIONS`.

The last line that it prints is the peak of its memory in bytes, first when the model was built and then at the end.
"""

import sys

from benchmarks.contestants.loops import CONTESTANTS
from benchmarks.contestants.sizes import ALL_SIZES
from benchmarks.probes.resident import peak_bytes


def main(name: str, sizes: str, threads: str, iterations: str) -> None:
    """Build, train and print the peaks."""
    train = CONTESTANTS[name](ALL_SIZES[sizes], int(threads))
    built = peak_bytes()
    train(int(iterations))
    print(built, peak_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
