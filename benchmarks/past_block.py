"""What a full block forgets.

Past block_size a model reads only some of the tokens before the next one. `sample.past_block: crop` leaves it the last
block_size; `shift` forgets the older half whenever the block is full, so that it has between half a block and a whole
one, and a token costs what it costs within the block. Here each model reads the val split as it would read a text of
its own, in one stream, and the tokens past the first block are scored from what each way leaves: the same tokens, by
the same model. The difference is what `shift` costs, in nats per token.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.trainings import Lines, trained
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, spread, table
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.language_model import LanguageModel
from gptmodel.params_file import load_params
from gptmodel.scoring import score_tokens

AT_ONCE = 64
"""Contexts in a forward pass."""
UNWATCHED = ("train.eval_interval=1000000", "train.eval_iters=1")
"""Evaluations would take longer than the training, and change no weight."""


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("past_block", __doc__)
    parser.add_argument("presets", type=Path, nargs="+", help="params files, such as params.yaml presets/nanogpt.yaml")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337])
    parser.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings for all presets")
    return parser


@torch.inference_mode()
def cropped(model: LanguageModel, ids: Sequence[int]) -> float:
    """Return the nats per token of those past the first block, each from the block_size before it."""
    model.transformer.eval()
    block_size = model.params.block_size
    idx = torch.tensor(ids)
    contexts, targets = idx[:-1].unfold(0, block_size, 1)[1:], idx[block_size + 1 :]  # (N, block_size), (N,)
    nats = [
        F.cross_entropy(model.predict(contexts[n : n + AT_ONCE])[:, -1], targets[n : n + AT_ONCE], reduction="none")
        for n in range(0, len(targets), AT_ONCE)
    ]
    return float(torch.cat(nats).double().mean())


def shifted(model: LanguageModel, ids: Sequence[int]) -> float:
    """Return the same from the contexts of `shift`, which are those of `gptmodel.scoring`."""
    nats = [-logs.gather(1, targets[:, None])[:, 0] for targets, logs in score_tokens(model, ids)]
    return float(torch.cat(nats)[model.params.block_size :].double().mean())


def of_preset(text: Path, preset: Path, settings: Sequence[str], seeds: Sequence[int]) -> Results:
    """Train with each seed, and score the val split both ways."""
    ways: dict[str, list[float]] = {"crop": [], "shift": []}
    for seed in seeds:
        params = load_params(preset, [*settings, *UNWATCHED, f"train.seed={seed}"])
        with tempfile.TemporaryDirectory() as name:
            prepare(text, Path(name) / "prepared", params.prepare)
            data = load_prepared(Path(name) / "prepared")
            with trained(Path(name) / "runs", data, params, Lines(progress, evaluations=False)) as training:
                ids = data.val.ids.tolist()
                ways["crop"].append(cropped(training.state.model, ids))
                ways["shift"].append(shifted(training.state.model, ids))
        progress(f"{preset.stem}, seed {seed}: {', '.join(f'{way} {nats[-1]:.4f}' for way, nats in ways.items())}")
    return {
        "block_size": params.model.block_size,
        "tokens": len(ids) - 1 - params.model.block_size,
        **{way: spread(nats) for way, nats in ways.items()},
        "difference": spread((np.array(ways["shift"]) - ways["crop"]).tolist()),
    }


def measure(arguments: argparse.Namespace) -> Results:
    """Train each preset with each seed."""
    text = arguments.text.read_bytes()
    return {
        "text": {"name": arguments.text.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()},
        "seeds": list(arguments.seeds),
        "presets": {
            " ".join([preset.stem, *arguments.settings]): of_preset(
                arguments.text, preset, arguments.settings, arguments.seeds
            )
            for preset in arguments.presets
        },
    }


def markdown(results: Results) -> str:
    """Return a row for each preset."""
    rows = [
        (
            label,
            f"{row['block_size']}",
            f"{row['tokens']:,}",
            *(cell(row[key], 4) for key in ("crop", "shift", "difference")),
        )
        for label, row in results["presets"].items()
    ]
    text, seeds = results["text"], results["seeds"]
    return (
        f"Text: `{text['name']}`, {text['bytes']:,} bytes, sha256 {text['sha256'][:16]}…; "
        f"seeds: {', '.join(map(str, seeds))}.\n\n"
        f"{table(('', 'block_size', 'tokens', 'crop', 'shift', 'shift minus crop'), rows)}"
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
