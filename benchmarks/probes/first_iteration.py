"""Start a contestant: `python -m benchmarks.probes.first_iteration CONTESTANT SIZES THREADS`.

It prints "built" when the model is built and "iterated" when the first iteration is done.
"""

import sys

from benchmarks.contestants.loops import CONTESTANTS
from benchmarks.contestants.sizes import SIZES


def main(name: str, sizes: str, threads: str) -> None:
    """Build and train an iteration."""
    train = CONTESTANTS[name](SIZES[sizes], int(threads))
    print("built", flush=True)
    train(1)
    print("iterated", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
