"""How cost grows.

One size at a time is changed, the others stay as in the base. The cost of a row is that of an iteration, for
`megabytes` that of preparing a text. The exponent is that of a power law through a row and the one above. 1 is linear,
and exponents from 0.85 to 1.15 are called so. Less means that a fixed cost is being shared out. More means that another
term takes over: the products of a block grow with the square of `n_embd`, the attention with the square of
`block_size`.
"""

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.loops import ours
from benchmarks.contestants.sizes import SIZES, Sizes
from benchmarks.figures.growth import exponents, in_words, speed_up
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, spread, table
from benchmarks.texts import repeated_letters
from gptmodel.data.corpus import prepare
from gptmodel.prepare_params import PrepareParams

CORES = os.cpu_count() or 1
AXES = {
    "n_embd": (32, 64, 128, 256, 512),
    "n_layer": (1, 2, 4, 8, 16),
    "block_size": (16, 32, 64, 128, 256, 512),
    "batch_size": (1, 2, 4, 8, 16, 32, 64, 128),
    "threads": tuple(sorted({CORES, *(1 << power for power in range(CORES.bit_length()) if 1 << power <= CORES)})),
    "megabytes": (1, 2, 5, 10, 20, 50, 100, 200),
}
CHAR = PrepareParams.model_validate(PrepareParams.defaults())


@dataclass
class Point:
    """One size of one axis: what takes the time, and the seconds of each round."""

    axis: str
    value: int
    tokens: int  # in a unit of work; of a text, bytes
    work: Callable[[int], object]  # that many units
    seconds: list[float] = field(default_factory=list)

    def time_round(self, seconds: float) -> None:
        """Do units of work for about that long, and note the seconds of one."""
        started = time.perf_counter()
        self.work(1)  # does not count: the caches hold what others left
        units = max(1, round(seconds / (time.perf_counter() - started)) - 1)
        started = time.perf_counter()
        self.work(units)
        self.seconds.append((time.perf_counter() - started) / units)


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("scaling", __doc__)
    parser.add_argument("--base", choices=SIZES, default="nanogpt")
    parser.add_argument("--axes", choices=AXES, nargs="*", default=list(AXES))
    parser.add_argument("--largest", type=int, default=512, help="leave out larger values")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each point, all rounds together")
    return parser


def training(axis: str, value: int, base: Sizes, threads: int) -> Point:
    """Return the point of a training with one size changed."""
    threads = value if axis == "threads" else threads
    sizes = base if axis == "threads" else replace(base, **{axis: value})  # type: ignore[arg-type]
    return Point(axis, value, sizes.batch_size * sizes.block_size, ours(sizes, threads))


def preparing(megabytes: int, folder: Path) -> Point:
    """Return the point of preparing a text of some size."""
    text, size = folder / f"{megabytes}.txt", megabytes * 1_000_000
    text.write_bytes(repeated_letters(size))

    def work(units: int) -> None:
        for _ in range(units):
            prepare(text, folder / "out", CHAR)

    return Point("megabytes", megabytes, size, work)


def measure(arguments: argparse.Namespace) -> Results:
    """Measure all points in turn."""
    with tempfile.TemporaryDirectory() as folder:
        make = {
            axis: functools.partial(training, axis, base=SIZES[arguments.base], threads=arguments.threads)
            for axis in AXES
        }
        make["megabytes"] = functools.partial(preparing, folder=Path(folder))
        points = [make[axis](value) for axis in arguments.axes for value in AXES[axis] if value <= arguments.largest]
        for number in range(arguments.rounds + 1):  # the first one does not count
            progress(f"scaling, round {number} of {arguments.rounds}")
            for point in points:
                point.time_round(arguments.seconds / arguments.rounds if number else 0.0)
    axes: dict[str, list[Results]] = {}
    for point in points:
        milliseconds = spread([1e3 * value for value in point.seconds[1:]])
        axes.setdefault(point.axis, []).append(
            {"value": point.value, "tokens": point.tokens, "milliseconds": milliseconds}
        )
    return {
        "base": {"name": arguments.base, **asdict(SIZES[arguments.base])},
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "axes": axes,
    }


def markdown(results: Results) -> str:
    """Return a sentence for each axis, and a row for each point."""
    rows, sentences = [], []
    for axis, points in results["axes"].items():
        sentences.append(f"- `{axis}`: {speed_up(points) if axis == 'threads' else in_words(points)}.")
        for point, exponent in zip(points, [None, *exponents(points)], strict=True):
            speed = 1e3 * point["tokens"] / point["milliseconds"]["median"]
            slope = "" if exponent is None else f"{exponent:.2f}"
            rows.append((axis, f"{point['value']}", cell(point["milliseconds"], 2), f"{speed:,.0f}", slope))
    base = ", ".join(f"{key} {results['base'][key]}" for key in AXES if key in results["base"])
    return (
        f"Base: {base}, threads {results['threads']}. Rounds: {results['rounds']}.\n\n"
        + "\n".join(sentences)
        + "\n\n"
        + table(("", "value", "ms", "tokens/s (bytes/s)", "exponent from the row above"), rows)
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
