"""Text -> token ids: the vectorised encoding against a dictionary look-up of each character, on the same text.

`python -m benchmarks.prepare` prints MB/s of both and of the whole stage, and the ratio, from rounds that take turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Results, cell, options, progress, ratios, run, spread, table
from gptmodel.config import PrepareParams
from gptmodel.data.corpus import prepare
from gptmodel.data.text_file import CHUNK_BYTES
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = {
    "ASCII": "etaoin shrdlu, cmfwyp vbgkjqxz.\nTHESUABCDFGIJ",
    "mixed scripts": "etaoin shrdlu, éèüçñ — абвгдежзийклмн 漢字.\n",
}
CHAR = PrepareParams(tokenizer="char", train_fraction=0.9)
ROWS = {
    "vectorised, MB/s": ("vectorised", 0),
    "dictionary, MB/s": ("dictionary", 0),
    "ratio": ("ratio", 1),
    "the whole stage, MB/s": ("stage", 0),
}


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--megabytes", type=int, default=20, help="millions of characters")
    found.add_argument("--rounds", type=int, default=5)
    return found


def seconds(function: Callable[[], Any]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(letters: str, megabytes: int, rounds: int) -> Results:
    """Return the figures of one kind of text."""
    text = "".join(np.random.default_rng(0).choice(list(letters), megabytes * 1_000_000))
    size = len(text.encode()) / 1e6
    tokenizer = CharTokenizer(text)
    stoi = tokenizer.stoi
    parts = [text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES)]
    vectorised, plain, whole = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "input.txt"), Path(folder, "out")
        path.write_bytes(text.encode())
        for _ in range(rounds):
            vectorised.append(seconds(lambda: [tokenizer.encode_array(part) for part in parts]))
            plain.append(seconds(lambda: [stoi[char] for char in text]))
            whole.append(seconds(lambda: prepare(path, out, CHAR)))
    return {
        "megabytes": size,
        "vectorised": spread([size / value for value in vectorised]),
        "dictionary": spread([size / value for value in plain]),
        "ratio": ratios(plain, vectorised),
        "stage": spread([size / value for value in whole]),
    }


def measure(given: argparse.Namespace) -> Results:
    """Compare on both kinds of text."""
    kinds = {}
    for kind, letters in LETTERS.items():
        progress(f"encoding {given.megabytes} million characters, {kind}")
        kinds[kind] = compare(letters, given.megabytes, given.rounds)
    return {"rounds": given.rounds, "texts": kinds}


def markdown(results: Results) -> str:
    """Return a table with a column for each kind of text."""
    texts = results["texts"]
    rows = [[name, *(cell(found[key], digits) for found in texts.values())] for name, (key, digits) in ROWS.items()]
    sizes = ", ".join(f"{found['megabytes']:.0f} MB of {kind}" for kind, found in texts.items())
    return f"{sizes}; rounds: {results['rounds']}.\n\n{table(['', *texts], rows)}"


if __name__ == "__main__":
    run(parser(), measure, markdown)
