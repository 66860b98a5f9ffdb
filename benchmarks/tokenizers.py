"""Tokenizers.

What tokens of several bytes cost, and what they give. "Learning" and "encoding" are rates for the text as it is. Beside
them stand those of libraries for a vocabulary of the same size: of rustbpe, which learns, and of tiktoken, which
encodes, both with the whole text in memory, and of `tokenizers` where it is installed. Each tokenizer then trains the
same params file for the same time, by the clock: it is stopped after the iteration in which the time is over, so that
the params file needs a constant learning rate. Val is bits per byte of the whole val split, which is the same text for
all, every token scored once.
`python -m benchmarks.probes.processor_time benchmarks.tokenizers ...` counts seconds of the processor, for a machine
that does other work.
"""

import argparse
import functools
import hashlib
import importlib.util
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.trainings import Lines, trained
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, spread, table
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, bits_per_byte, load_prepared, scored_bytes
from gptmodel.data.text_file import CHUNK_BYTES
from gptmodel.errors import ConfigError
from gptmodel.params_file import load_params
from gptmodel.tokenizers.bpe import PATTERN
from gptmodel.tokenizers.kinds import KINDS

if TYPE_CHECKING:
    from gptmodel.config import Params


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("tokenizers", __doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[1024, 4096, 16384], help="vocabularies of bpe")
    parser.add_argument("--kinds", choices=list(KINDS), nargs="*", default=["char", "byte", "bpe"])
    parser.add_argument("--seconds", type=float, default=120.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1337])
    parser.add_argument("--rounds", type=int, default=3, help="of learning and encoding")
    parser.add_argument("-S", "--set", dest="settings", nargs="*", default=[], help="settings for all trainings")
    return parser


def measure(arguments: argparse.Namespace) -> Results:
    """Learn, encode and train with each tokenizer."""
    content = arguments.text.read_bytes()
    tokenizers = []
    for kind in arguments.kinds:
        for size in arguments.sizes if kind == "bpe" else [None]:
            progress(f"{kind} {size or ''}")
            settings = [f"prepare.tokenizer={kind}", f"prepare.vocab_size={size or 'null'}", *arguments.settings]
            tokenizers.append(_of_one(arguments, content, settings))
    return {
        "text": {"name": arguments.text.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "clock": "processor" if time.perf_counter is time.process_time else "wall",
        "tokenizers": tokenizers,
    }


def _of_one(arguments: argparse.Namespace, content: bytes, settings: Sequence[str]) -> Results:
    """Return all figures of one tokenizer."""
    params = load_params(arguments.params, settings)
    size = params.prepare.vocab_size
    rates = [_rates(content, params) for _ in range(arguments.rounds)]
    peers = [_rates_of_peers(content.decode(), size) for _ in range(arguments.rounds)] if size else []
    with tempfile.TemporaryDirectory() as name:
        prepare(arguments.text, Path(name) / "prepared", params.prepare)
        data = load_prepared(Path(name) / "prepared")
        trainings = [_training(Path(name), data, params, seed, arguments.seconds) for seed in arguments.seeds]
        return {
            "tokenizer": params.prepare.tokenizer,
            "vocab_size": data.tokenizer.vocab_size,
            "bytes_per_token": scored_bytes(data.val.ids, data.tokenizer) / (len(data.val.ids) - 1),
            **{rate: spread([one[rate] for one in rates]) for rate in ("learning", "encoding")},
            "peers": {
                rate: {name: spread([one[rate][name] for one in peers]) for name in peers[0][rate]}
                for rate in ("learning", "encoding")
                if peers
            },
            "parameters": trainings[0]["parameters"],
            "iterations": trainings[0]["iterations"],
            **{key: spread([training[key] for training in trainings]) for key in ("seconds", "val")},
        }


def _rates(content: bytes, params: "Params") -> dict[str, float]:
    """Return the megabytes a second of learning a tokenizer, and of encoding with it."""
    chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
    started = time.perf_counter()
    tokenizer = KINDS[params.prepare.tokenizer].fit(chunks, [], params.prepare.vocab_size)
    learnt = time.perf_counter()
    tokenizer.encode("a")  # so that the table is built
    begun = time.perf_counter()
    for _ in tokenizer.encode_stream(chunks):
        pass
    return _per_second(content, learnt - started, time.perf_counter() - begun)


def _per_second(content: bytes, learning: float, encoding: float) -> dict[str, float]:
    """Return megabytes a second."""
    return {"learning": len(content) / 1e6 / learning, "encoding": len(content) / 1e6 / encoding}


def _rates_of_peers(text: str, vocab_size: int) -> dict[str, dict[str, float]]:
    """Return the megabytes a second of each library that learns, and of each that encodes, by its name."""
    from tiktoken import Encoding

    trainer = importlib.import_module("rustbpe").Tokenizer()
    started = time.perf_counter()
    trainer.train_from_iterator([text], vocab_size, pattern=PATTERN)
    learnt = time.perf_counter()
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    encoding = Encoding("peer", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    begun = time.perf_counter()
    encoding.encode_to_numpy(text, disallowed_special=())
    of_both = _per_second(text.encode(), learnt - started, time.perf_counter() - begun)
    rates = {"learning": {"rustbpe": of_both["learning"]}, "encoding": {"tiktoken": of_both["encoding"]}}
    spec = importlib.util.find_spec("tokenizers")
    if spec is not None and spec.origin is not None:  # a folder of that name is no library
        for rate, value in _rates_of_tokenizers(text, vocab_size).items():
            rates[rate]["tokenizers"] = value
    return rates


def _rates_of_tokenizers(text: str, vocab_size: int) -> dict[str, float]:
    """Return the rates of the library `tokenizers`, which gets the text in lines."""
    library: Any = importlib.import_module("tokenizers")
    lines = text.splitlines(keepends=True)
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    started = time.perf_counter()
    tokenizer.train_from_iterator(lines, trainer)
    learnt = time.perf_counter()
    tokenizer.encode_batch(lines)
    return _per_second(text.encode(), learnt - started, time.perf_counter() - learnt)


def _training(folder: Path, data: PreparedData, params: "Params", seed: int, seconds: float) -> Results:
    """Train for so many seconds, and score the val split."""
    from torch.nn import functional as F

    from gptmodel.evaluation.loss import split_loss

    if params.train.lr_schedule != "constant":
        raise ConfigError(f"train.lr_schedule = '{params.train.lr_schedule}': the time is given here, so set constant")
    changes = {"max_iters": 10**9, "eval_interval": 10**9, "eval_iters": 1, "seed": seed}
    params = params.model_copy(update={"train": params.train.model_copy(update=changes)})
    ends = functools.cache(lambda: time.perf_counter() + seconds)  # counted from the first iteration on
    silent = Lines(progress, evaluations=False)
    with trained(folder / "runs", data, params, silent, lambda: time.perf_counter() >= ends()) as training:
        iterations = training.state.iteration
        nats = split_loss(training.state.model, data.val.ids, F.cross_entropy, training.place).total
        val = bits_per_byte(nats, scored_bytes(data.val.ids, data.tokenizer))
        progress(f"  seed {seed}: {iterations} iterations in {training.state.seconds:.1f} s, val {val:.4f}")
        return {
            "iterations": iterations,
            "seconds": training.state.seconds,
            "parameters": training.parameters,
            "val": val,
        }


def markdown(results: Results) -> str:
    """Return a row for each tokenizer."""
    rows = [
        (
            f"{one['tokenizer']}",
            f"{one['vocab_size']:,}",
            f"{one['bytes_per_token']:.2f}",
            *(_beside(one, rate) for rate in ("learning", "encoding")),
            f"{one['parameters']:,}",
            f"{one['iterations']:,}",
            cell(one["seconds"], 0),
            cell(one["val"], 4),
        )
        for one in results["tokenizers"]
    ]
    head = ("", "vocabulary", "bytes per token", "learning, MB/s", "encoding, MB/s", "parameters", "iterations")
    text = results["text"]
    return (
        f"Text: `{text['name']}`, {text['bytes']:,} bytes, sha256 {text['sha256'][:16]}…; {results['seconds']:g} "
        f"seconds of training. {conditions(results)}\n\n{table((*head, 'seconds', 'val, bits per byte'), rows)}"
    )


def _beside(one: Results, rate: str) -> str:
    peers = [f"; `{name}` {cell(values, 2)}" for name, values in one["peers"].get(rate, {}).items()]
    return "".join((cell(one[rate], 2), *peers))


if __name__ == "__main__":
    run(options(), measure, markdown)
