"""Training speed at equal work: this project, a plain eager loop, HF transformers' GPT-2 and litgpt.

`python -m benchmarks.train` prints milliseconds per iteration and the speed as a multiple of the plain loop's, from
rounds that take turns; the share of the speed at which this machine multiplies matrices, found in the same rounds; and
what the time goes into.
Peers that are not installed are left out: `pip install -r requirements-bench.txt` brings them.
"""

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection

from benchmarks.breakdown import breakdown
from benchmarks.models import SIZES
from benchmarks.peak import PRODUCT, iteration_operations, products
from benchmarks.peers import CONTESTANTS, contestants
from benchmarks.report import Results, cell, options, progress, ratios, run, spread, table

WARM_UP = 10
PEAK, PLAIN = "matrix products", "plain loop"


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--sizes", choices=SIZES, nargs="*", default=list(SIZES))
    found.add_argument("--threads", type=int, default=2)
    found.add_argument("--rounds", type=int, default=7)
    found.add_argument("--iterations", type=int, default=40, help="iterations in a round, and profiled")
    return found


def work(name: str, sizes: str, threads: int, pipe: Connection) -> None:
    """Be one contestant: for each number received, train so many iterations and answer with the seconds."""
    made = products if name == PEAK else CONTESTANTS[name]
    train = made(SIZES[sizes], threads)
    train(WARM_UP)
    pipe.send(None)
    while iterations := pipe.recv():
        start = time.perf_counter()
        train(iterations)
        pipe.send(time.perf_counter() - start)


def compare(names: Sequence[str], sizes: str, threads: int, rounds: int, iterations: int) -> dict[str, list[float]]:
    """Return seconds per iteration of each contestant in each round; one of them computes at a time."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in names:
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(name, sizes, threads, theirs), daemon=True))
        processes[-1].start()
        pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(iterations)
            seconds[name].append(pipe.recv() / iterations)
    for pipe in pipes.values():
        pipe.send(0)
    for process in processes:
        process.join()
    return seconds


def of_sizes(sizes: str, given: argparse.Namespace) -> Results:
    """Return the figures of all contestants at some sizes, and the breakdown of ours."""
    progress(f"training at sizes of {sizes}")
    seconds = compare([PEAK, *contestants()], sizes, given.threads, given.rounds, given.iterations)
    products_ = seconds.pop(PEAK)
    least = [value * iteration_operations(SIZES[sizes]) / PRODUCT for value in products_]  # seconds at the peak
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # as each of the others
        spent = pool.submit(breakdown, SIZES[sizes], given.iterations).result()
    return {
        "sizes": str(SIZES[sizes]),
        "tokens": SIZES[sizes].batch_size * SIZES[sizes].block_size,
        "operations": iteration_operations(SIZES[sizes]),
        "peak_gflops": spread([PRODUCT / value / 1e9 for value in products_]),
        "contestants": {
            name: {
                "milliseconds": spread([1e3 * value for value in values]),
                "times_as_fast": ratios(seconds[PLAIN], values),
                "of_peak": ratios(least, values),
            }
            for name, values in seconds.items()
        },
        "breakdown": spent,
    }


def measure(given: argparse.Namespace) -> Results:
    """Compare at each of the sizes."""
    return {
        "threads": given.threads,
        "rounds": given.rounds,
        "iterations": given.iterations,
        "sizes": {sizes: of_sizes(sizes, given) for sizes in given.sizes},
    }


def markdown(results: Results) -> str:
    """Return a table of the contestants and one of ours' time for each of the sizes."""
    parts = [f"Threads: {results['threads']}; rounds: {results['rounds']}, each of {results['iterations']} iterations."]
    for name, found in results["sizes"].items():
        rows = [
            (
                contestant,
                cell(row["milliseconds"]),
                f"{1e3 * found['tokens'] / row['milliseconds']['median']:,.0f}",
                cell(row["times_as_fast"], 2),
                cell({key: 100 * value for key, value in row["of_peak"].items()}, 0),
            )
            for contestant, row in found["contestants"].items()
        ]
        *groups, (_, slower) = found["breakdown"].items()
        parts += [
            f"### Sizes of {name}: {found['sizes']}",
            table(("", "ms an iteration", "tokens/s", "times as fast as the plain loop", "% of the peak"), rows),
            f"An iteration is {found['operations'] / 1e9:.2f} billion operations; the peak was "
            f"{cell(found['peak_gflops'], 0)} billion a second. What ours spent its time on in one thread, when being "
            f"profiled made it take {slower:.2f} times as long:",
            table([group for group, _ in groups], [[f"{share:.0%}" for _, share in groups]]),
        ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(parser(), measure, markdown)
