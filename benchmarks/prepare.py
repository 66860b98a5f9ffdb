"""Text -> token ids: the vectorised encoding against a dictionary look-up of each character, on the same text.

`python -m benchmarks.prepare` prints MB/s of both, and the ratio's median and spread over interleaved rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gptmodel.config import PrepareParams
from gptmodel.data.corpus import CHUNK_BYTES, prepare
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = {
    "ascii": "etaoin shrdlu, cmfwyp vbgkjqxz.\nTHESUABCDFGIJ",
    "unicode": "etaoin shrdlu, éèüçñ — абвгдежзийклмн 漢字.\n",
}


def seconds(function: Callable[[], Any]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(letters: str, megabytes: int, rounds: int) -> None:
    """Print the figures of one kind of text."""
    text = "".join(np.random.default_rng(0).choice(list(letters), megabytes * 1_000_000))
    size = len(text.encode()) / 1e6
    tokenizer = CharTokenizer(text)
    stoi = tokenizer.stoi
    parts = [text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES)]
    vectorised, plain, whole = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "input.txt"), Path(folder, "out")
        path.write_bytes(text.encode())
        chosen = PrepareParams(tokenizer="char", train_fraction=0.9)
        for _ in range(rounds):
            vectorised.append(seconds(lambda: [tokenizer.encode_array(part) for part in parts]))
            plain.append(seconds(lambda: [stoi[char] for char in text]))
            whole.append(seconds(lambda: prepare(path, out, chosen)))
    ratios = [slow / fast for slow, fast in zip(plain, vectorised, strict=True)]
    print(f"  vectorised encoding   {size / statistics.median(vectorised):8.0f} MB/s")
    print(f"  dictionary look-up    {size / statistics.median(plain):8.0f} MB/s")
    print(f"  ratio                 {statistics.median(ratios):8.1f} (from {min(ratios):.1f} to {max(ratios):.1f})")
    print(f"  prepare, file to file {size / statistics.median(whole):8.0f} MB/s (two passes, two digests, written)")


def main() -> None:
    """Compare on both kinds of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20, help="millions of characters")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for kind, letters in LETTERS.items():
        print(f"{kind} text, {given.megabytes} million characters, {given.rounds} rounds")
        compare(letters, given.megabytes, given.rounds)


if __name__ == "__main__":
    main()
