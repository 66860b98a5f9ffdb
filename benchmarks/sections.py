"""The sections of docs/BENCHMARKS.md: what is said of each benchmark before its figures, and the plot beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import plots
from benchmarks.report import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """What is said of a benchmark before its figures."""

    name: str
    title: str
    text: str
    plot: str = ""  # file in docs/
    draw: Callable[[Results, "Figure"], None] | None = None


HEAD = """# Benchmarks

Written by `python -m benchmarks.document` from the JSON files in `benchmarks/results`; no figure is typed by hand.
`make benchmarks` measures again. A figure is the median of rounds, in brackets are the lowest and the highest. What is
compared takes turns in one run and does equal work, so ratios hold better than times, which are those of this machine.
"""
SECTIONS = (
    Section(
        "train",
        "Training speed",
        """One iteration (batch, forward, backward, update) with AdamW, of models of the same sizes, each in a process
of its own, in float32 but where bfloat16 is said: there matrices are multiplied in bfloat16, ours by `train.dtype`,
the plain loop's by torch's autocast; weights and updates stay float32. "Compiled" is `train.compile`, whose
compiling is not in the times (half a minute, or seconds from its cache). The plain loop is the same model with
torch's attention kernel and `torch.optim.AdamW` by its defaults. GPT-2 of HF transformers and GPT of litgpt are
pre-norm with GELU at any sizes, and litgpt turns queries and keys in place of learned positions. The peak is the
speed of float32 products of 1024 x 1024 matrices with the same threads, which bfloat16 may exceed; an iteration
counts 6 operations for each weight of a matrix and each token, and 12 n_embd block_size^2 for the attention of each
block and sequence (`benchmarks/peak.py`).""",
    ),
    Section(
        "evaluations",
        "Evaluations during a training",
        """The default settings evaluate every 100 iterations, 200 batches of each split: four times as many tokens as
the iterations train on. They are scored beside the iterations where a core is free for it, and a thread that would
have to wait for them takes a share. The side without has one batch scored at its start and at its end.""",
    ),
    Section(
        "loss",
        "Loss over time",
        """Whole trainings. Seconds are those of training with its evaluations; val and train are the losses of the
whole splits, every token scored once, in nats; "seconds to" counts until an evaluation during it was there.""",
        "loss_over_time.png",
        plots.loss_over_time,
    ),
    Section(
        "sample",
        "Sampling",
        """At nanoGPT's laptop sizes, 65 tokens, temperature 0.8. The plain loop, in nanoGPT's manner, gives the model
the whole cropped context for each token. Up to block_size ours, HF transformers and litgpt keep keys and values. Past
it no key or value can be kept, since all positions move: ours saves the last block's work on all but one position.""",
    ),
    Section(
        "prepare",
        "Encoding a text",
        """The vectorised look-up of `prepare` against a dictionary asked character by character, on the same generated
text. The whole stage goes from file to files, with two passes, two digests and fsync.""",
    ),
    Section(
        "startup",
        "Start-up",
        """Whole commands in a clean clone with a text of 132 kB, and the contestants of "Training speed" at the
tutorial's sizes, from the start of Python.""",
    ),
    Section(
        "memory",
        "Peak memory",
        """The largest resident size of a process that imports, builds the model and trains; and how much it grows while
a text is prepared.""",
    ),
    Section(
        "scaling",
        "How cost grows",
        """One size at a time is changed, the others stay as in the base. The cost of a row is that of an iteration, for
`megabytes` that of preparing a text. The exponent is that of a power law through a row and the one above: 1 is linear,
less says that a fixed cost is being shared out, more that another term takes over: the products of a block grow with
the square of `n_embd`, the attention with the square of `block_size`. "Linear" is an exponent from 0.85 to 1.15.""",
        "scaling.png",
        plots.scaling,
    ),
    Section(
        "plan",
        "Planning",
        """What `gptmodel plan` says beside what the run then took, planned before and after it: where these two differ,
the machine had other work. In brackets is planned / taken.""",
    ),
    Section(
        "resume",
        "Going on after a kill",
        """A training with the default settings and a generated text of 5 MB, killed again and again; imports are
included.""",
    ),
)
