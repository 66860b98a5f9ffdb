"""Training speed.

One iteration (batch, forward, backward, update) with AdamW, of models of the same sizes, each in a process of its own.
They compute in float32, unless bfloat16 is named: then matrices are multiplied in bfloat16, in gptmodel by
`train.dtype`, in the plain loop by torch's autocast; weights and updates stay float32. "Compiled" is `train.compile`;
the time of compiling is not counted (half a minute, or seconds from its cache). The plain loop is the same model with
torch's attention kernel and `torch.optim.AdamW` by its defaults. GPT-2 of HF transformers and GPT of litgpt are
pre-norm with GELU at any sizes, and litgpt has rotary positions in place of learned ones. A library that is not
installed (`requirements-bench.txt`) is left out. The peak is the speed of products of two float32 matrices of 1024 x
1024 with the same threads; bfloat16 may exceed it. `benchmarks/contestants/peak.py` says how the operations of an
iteration are counted. The Xeon whose instructions are AVX2 has more, and was held to them, in torch and in its
libraries, by `ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2`; the EPYC with AVX2 has
no others.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.loops import contestants
from benchmarks.contestants.peak import PRODUCT, iteration_operations
from benchmarks.contestants.sizes import SIZES
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, ratios, spread, table
from benchmarks.probes.breakdown import breakdown
from benchmarks.probes.contestant import PEAK, train_when_told

PLAIN = "plain loop"


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("train", __doc__)
    parser.add_argument("--sizes", choices=SIZES, nargs="*", default=list(SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=40, help="iterations in a round, and profiled")
    parser.add_argument("--contestants", choices=contestants(), nargs="+", default=contestants(), metavar="NAME")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of CPU: for one thread on a shared machine")
    return parser


def compare(names: Sequence[str], sizes: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return seconds per iteration of each contestant in each round; one of them computes at a time."""
    iterations = arguments.iterations
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in names:
        pipes[name], theirs = context.Pipe()
        words = (name, sizes, arguments.threads, arguments.cpu_time, theirs)
        process = context.Process(target=train_when_told, args=words, daemon=True)
        process.start()
        processes.append(process)
        pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    for _ in range(arguments.rounds):
        for name, pipe in pipes.items():
            pipe.send(iterations)
            seconds[name].append(pipe.recv() / iterations)
    for pipe in pipes.values():
        pipe.send(0)
    for process in processes:
        process.join()
    return seconds


def of_sizes(name: str, arguments: argparse.Namespace) -> Results:
    """Return the figures of all contestants at some sizes, and the breakdown of ours."""
    progress(f"training at sizes of {name}")
    sizes = SIZES[name]
    seconds = compare(list(dict.fromkeys([PEAK, *arguments.contestants, PLAIN])), name, arguments)
    product_seconds = seconds.pop(PEAK)
    at_peak = [value * iteration_operations(sizes) / PRODUCT for value in product_seconds]  # seconds an iteration
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # as each of the others
        shares = pool.submit(breakdown, sizes, arguments.iterations).result()
    return {
        "sizes": str(sizes),
        "tokens": sizes.batch_size * sizes.block_size,
        "operations": iteration_operations(sizes),
        "peak_gflops": spread([PRODUCT / value / 1e9 for value in product_seconds]),
        "contestants": {
            contestant: {
                "milliseconds": spread([1e3 * value for value in values]),
                "times_as_fast": ratios(seconds[PLAIN], values),
                "of_peak": ratios(at_peak, values),
            }
            for contestant, values in seconds.items()
        },
        "breakdown": shares,
    }


def measure(arguments: argparse.Namespace) -> Results:
    """Compare at each of the sizes."""
    return {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "iterations": arguments.iterations,
        "clock": "processor" if arguments.cpu_time else "wall",
        "sizes": {name: of_sizes(name, arguments) for name in arguments.sizes},
    }


def markdown(results: Results) -> str:
    """Return a table of the contestants and one of our time for each of the sizes."""
    parts = [f"{conditions(results)} Iterations in a round: {results['iterations']}."]
    for name, figures in results["sizes"].items():
        rows = [
            (
                contestant,
                cell(row["milliseconds"]),
                f"{1e3 * figures['tokens'] / row['milliseconds']['median']:,.0f}",
                cell(row["times_as_fast"], 2),
                cell(row["of_peak"], 0, 100),
            )
            for contestant, row in figures["contestants"].items()
        ]
        *groups, (_, slower) = figures["breakdown"].items()
        parts += [
            f"### Sizes of {name}: {figures['sizes']}",
            table(("", "ms an iteration", "tokens/s", "speed-up over the plain loop", "% of the peak"), rows),
            f"An iteration is {figures['operations'] / 1e9:.2f} billion operations; the peak was "
            f"{cell(figures['peak_gflops'], 0)} billion a second. What gptmodel spends its time on in one thread, by "
            f"torch's profiler, which made an iteration take {slower:.2f} times as long:",
            table([group for group, _ in groups], [[f"{share:.0%}" for _, share in groups]]),
        ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(options(), measure, markdown)
