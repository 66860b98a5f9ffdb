"""The sections of docs/BENCHMARKS.md, in order. What a section says is the docstring of its benchmark."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.figures import plots
from benchmarks.figures.gpus import parts_together
from benchmarks.figures.losses import together
from benchmarks.figures.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A benchmark in the document: the module `benchmarks.NAME`, and how its results are drawn and put together."""

    name: str
    plot: str = ""  # file in docs/
    draw: Callable[[Results, "Figure"], None] | None = None
    merge: Callable[[Sequence[Results]], Results] | None = None  # of several files; without it each has its own tables

    @property
    def module(self) -> Any:
        """The benchmark, as benchmarks/command.py describes one."""
        return importlib.import_module(f"benchmarks.{self.name}")

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return str(self.module.__doc__).partition("\n\n")[0].rstrip(".")

    @property
    def text(self) -> str:
        """The docstring from its second paragraph on."""
        return str(self.module.__doc__).partition("\n\n")[2].strip()


HEAD = """# Benchmarks

Written by `python -m benchmarks.document` from the JSON files in `benchmarks/results`; no figure is typed by hand.
`make benchmarks` measures again. A figure is the median of rounds, in brackets are the lowest and the highest. What is
compared takes turns in one run and does equal work, so ratios hold better than times, which are those of the machine
that is named above the table. Machines are numbered below; "instructions" are those that torch uses of a processor.
"""
SECTIONS = (
    Section("train"),
    Section("evaluations"),
    Section("lecture"),
    Section("loss", "loss_over_time.png", plots.loss_over_time, together),
    Section("ablation"),
    Section("sample"),
    Section("past_block"),
    Section("prepare"),
    Section("tokenizers"),
    Section("startup"),
    Section("memory"),
    Section("processes"),
    Section("scaling", "scaling.png", plots.scaling),
    Section("plan"),
    Section("resume"),
    Section("gpu", merge=parts_together),
)
