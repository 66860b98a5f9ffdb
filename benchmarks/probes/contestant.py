"""One contestant of the training speed in a process of its own: it trains when it is told to."""

import time
from multiprocessing.connection import Connection

from benchmarks.contestants.loops import CONTESTANTS
from benchmarks.contestants.peak import products
from benchmarks.contestants.sizes import SIZES

WARM_UP = 10
PEAK = "matrix products"
"""The contestant that only multiplies matrices."""


def train_when_told(name: str, sizes: str, threads: int, cpu_time: bool, pipe: Connection) -> None:
    """Say when ready; for each number received, train that many iterations and answer with the seconds; end at 0."""
    clock = time.process_time if cpu_time else time.perf_counter
    new_loop = products if name == PEAK else CONTESTANTS[name]
    train = new_loop(SIZES[sizes], threads)
    train(WARM_UP)
    pipe.send(None)
    while iterations := pipe.recv():
        started = clock()
        train(iterations)
        pipe.send(clock() - started)
