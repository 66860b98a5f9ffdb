"""Training speed at equal work: this project, a plain eager loop, HF transformers' GPT-2 and litgpt.

`python -m benchmarks.train` prints milliseconds per iteration and ratios to ours, from rounds that take turns. Peers
that are not installed are left out: `pip install -r requirements-bench.txt` brings them.
"""

import argparse
import importlib.util
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.peers import CONTESTANTS, SIZES
from benchmarks.report import save, spread

NEEDS = {"HF GPT-2": "transformers", "litgpt": "litgpt"}
WARM_UP = 10


def work(name: str, sizes: str, threads: int, pipe: Connection) -> None:
    """Be one contestant: for each number received, train so many iterations and answer with the seconds."""
    train = CONTESTANTS[name](SIZES[sizes], threads)
    train(WARM_UP)
    pipe.send(None)
    while iterations := pipe.recv():
        start = time.perf_counter()
        train(iterations)
        pipe.send(time.perf_counter() - start)


def compare(sizes: str, threads: int, rounds: int, iterations: int) -> dict[str, list[float]]:
    """Return seconds per iteration of each contestant in each round; one of them computes at a time."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in CONTESTANTS:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            continue
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


def main() -> None:
    """Compare at each of the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", choices=SIZES, nargs="*", default=list(SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=40, help="iterations in a round")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    results = {}
    for sizes in given.sizes:
        seconds = compare(sizes, given.threads, given.rounds, given.iterations)
        tokens = SIZES[sizes].batch_size * SIZES[sizes].block_size
        print(f"{sizes}: {SIZES[sizes]}, {given.threads} threads, {given.rounds} rounds of {given.iterations}")
        results[sizes] = {}
        for name, values in seconds.items():
            ratios = [value / own for value, own in zip(values, seconds["gptmodel"], strict=True)]
            time_, ratio = spread([1e3 * value for value in values]), spread(ratios)
            print(
                f"  {name:12} {time_['median']:7.1f} ms an iteration ({time_['min']:.1f} to {time_['max']:.1f}), "
                f"{1e3 * tokens / time_['median']:7.0f} tokens/s; takes {ratio['median']:.2f} times as long "
                f"({ratio['min']:.2f} to {ratio['max']:.2f})"
            )
            results[sizes][name] = {"milliseconds": time_, "times_ours": ratio}
    save(given.json, {"training": results})


if __name__ == "__main__":
    main()
