"""Encoding a text.

The vectorised look-up of `prepare` against a dictionary asked character by character, on the same made-up text. The
whole stage goes from file to files, with two passes, two digests and fsync.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, ratios, spread, table
from benchmarks.texts import random_text
from gptmodel.data.corpus import prepare
from gptmodel.data.text_file import CHUNK_BYTES
from gptmodel.prepare_params import PrepareParams
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = {
    "ASCII": "etaoin shrdlu, cmfwyp vbgkjqxz.\nTHESUABCDFGIJ",
    "mixed scripts": "etaoin shrdlu, éèüçñ — абвгдежзийклмн 漢字.\n",
}
CHAR = PrepareParams.model_validate(PrepareParams.defaults())
ROWS = {
    "vectorised, MB/s": ("vectorised", 0),
    "dictionary, MB/s": ("dictionary", 0),
    "ratio": ("ratio", 1),
    "the whole stage, MB/s": ("stage", 0),
}


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("prepare", __doc__)
    parser.add_argument("--megabytes", type=int, default=20, help="millions of characters")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def seconds(work: Callable[[], object]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(letters: str, megabytes: int, rounds: int) -> Results:
    """Return the figures of one kind of text."""
    text = random_text(megabytes * 1_000_000, letters)
    size = len(text.encode()) / 1e6
    tokenizer = CharTokenizer(text)
    stoi = tokenizer.stoi
    parts = [text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES)]
    vectorised, dictionary, stage = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "input.txt"), Path(folder, "out")
        path.write_bytes(text.encode())
        for _ in range(rounds):
            vectorised.append(seconds(lambda: [tokenizer.encode_array(part) for part in parts]))
            dictionary.append(seconds(lambda: [stoi[char] for char in text]))
            stage.append(seconds(lambda: prepare(path, out, CHAR)))
    return {
        "megabytes": size,
        "vectorised": spread([size / value for value in vectorised]),
        "dictionary": spread([size / value for value in dictionary]),
        "ratio": ratios(dictionary, vectorised),
        "stage": spread([size / value for value in stage]),
    }


def measure(arguments: argparse.Namespace) -> Results:
    """Compare on both kinds of text."""
    texts = {}
    for kind, letters in LETTERS.items():
        progress(f"encoding {arguments.megabytes} million characters, {kind}")
        texts[kind] = compare(letters, arguments.megabytes, arguments.rounds)
    return {"rounds": arguments.rounds, "texts": texts}


def markdown(results: Results) -> str:
    """Return a table with a column for each kind of text."""
    texts = results["texts"]
    rows = [[name, *(cell(rates[key], digits) for rates in texts.values())] for name, (key, digits) in ROWS.items()]
    sizes = ", ".join(f"{rates['megabytes']:.0f} MB of {kind}" for kind, rates in texts.items())
    return f"{sizes}; rounds: {results['rounds']}.\n\n{table(['', *texts], rows)}"


if __name__ == "__main__":
    run(options(), measure, markdown)
