"""What bpe alone does: learning from the train split, the same tokens every time, and a reader that trusts nothing."""

import hashlib
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_helpers import ROOT

from gptmodel.errors import DataError
from gptmodel.tokenizers import bpe, windows
from gptmodel.tokenizers.bpe import LONGEST, BpeTokenizer
from gptmodel.tokenizers.kinds import tokenizer_from_json

TEXT = "the cat sat on the mat, the rat sat on the cat; that is that.\n" * 4
GOLDEN = ["at", "th", " th", " the", " c", " o", " s", " that", " cat", " on"]
GOLDEN += [" sat", " i", " m", " r", "the", " is", " mat", " rat"]
SCRIPTS = "naïve — Пушкин 漢字 🙂🏽 \ufeff\x00\u2028\r\n"


@cache
def learnt(text: str, vocab_size: int = 300) -> BpeTokenizer:
    return BpeTokenizer.fit([text.encode()], [], vocab_size)


def test_the_tokens_of_a_small_text_are_what_they_always_were() -> None:
    """Ties are broken by the version of rustbpe that is pinned: another order is another vocabulary."""
    tokenizer = learnt(TEXT, 280)
    assert tokenizer.to_json() == {"kind": "bpe", "tokens": GOLDEN}
    assert tokenizer.vocab_size == 274  # nothing is left to be joined
    assert learnt(TEXT, 260).to_json()["tokens"] == GOLDEN[:4]
    assert tokenizer.encode("the cat that sat") == [270, 264, 263, 266]
    assert [tokenizer.token_bytes(idx) for idx in (0, 97, 255, 256)] == [b"\x00", b"a", b"\xff", b"at"]


def test_tokens_are_learnt_from_the_train_split_alone() -> None:
    assert BpeTokenizer.fit([TEXT.encode()], [b"zyx zyx zyx " * 99], 280).to_json() == learnt(TEXT, 280).to_json()
    assert BpeTokenizer.fit([], [TEXT.encode()], 280).vocab_size == 256


TOKENS = """
import sys
from gptmodel.tokenizers.bpe import BpeTokenizer
with open(sys.argv[1], "rb") as stream:
    text = stream.read()
tokenizer = BpeTokenizer.fit(iter([text[:999], text[999:5000], text[5000:]]), [], 700)
print(tokenizer.vocab_size, tokenizer.digest)
"""


def test_threads_and_processes_change_no_token(tmp_path: Any) -> None:
    """Different words of equal counts, so that ties abound."""
    numbers = range(20_000)
    text = " ".join(hashlib.sha256(bytes([n % 251, n % 7])).hexdigest()[: 3 + n % 5] for n in numbers) + SCRIPTS
    (tmp_path / "text").write_text(text, encoding="utf-8")
    answers = set()
    for threads in ("1", "2", "3", "2"):
        result = subprocess.run(
            [sys.executable, "-c", TOKENS, str(tmp_path / "text")],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.add(result.stdout)
    assert len(answers) == 1
    assert answers.pop().startswith("700 ")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(1, 7))
def test_any_text_comes_back_and_chunks_change_nothing(text: str, length: int) -> None:
    tokenizer = learnt(TEXT + SCRIPTS * 9)
    content = text.encode()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    chunks = (content[start : start + length] for start in range(0, len(content), length))
    assert [idx for part in tokenizer.encode_stream(chunks) for idx in part.tolist()] == ids
    assert b"".join(map(tokenizer.token_bytes, ids)) == content


def test_characters_of_all_of_unicode_come_back() -> None:
    text = "".join(chr(point) for point in range(0, 0x110000, 5) if not 0xD800 <= point < 0xE000)
    tokenizer = learnt(TEXT)
    assert tokenizer.decode(tokenizer.encode_array(text)) == text


@given(st.lists(st.integers(0, 299), max_size=40))
def test_a_stream_gives_what_decode_gives_for_any_ids(ids: list[int]) -> None:
    tokenizer = learnt(SCRIPTS * 30 + TEXT)
    ids = [idx for idx in ids if idx < tokenizer.vocab_size]
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == tokenizer.decode(ids)


def test_half_characters_are_refused_or_replaced() -> None:
    tokenizer = learnt(TEXT)
    for half in ("\ud800", "\udcff"):
        with pytest.raises(DataError, match=r"character 1 .*half of a character; leave it out"):
            tokenizer.encode(f"a{half}")
        assert tokenizer.decode(tokenizer.encode(f"a{half}", "replace")) == "a?"


@pytest.mark.parametrize("ids", [[300], [-1], [2**70]])
def test_an_id_out_of_range_is_refused(ids: list[int]) -> None:
    for read in (learnt(TEXT).decode, lambda ids: learnt(TEXT).stream().push(ids[0])):
        with pytest.raises(DataError, match="out of range"):
            read(ids)


@pytest.mark.parametrize("unit", ["a", " ", "=", "ab", "🙂"])
def test_what_repeats_without_an_end_makes_no_endless_token(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """Nor do the cuts in such a text, which has no blank to be cut at, depend on how it comes."""
    text = unit * 5000 + "."
    assert max(map(len, (learnt(text).token_bytes(idx) for idx in range(256, 263)))) <= LONGEST
    monkeypatch.setattr(windows, "WINDOW", 100)
    monkeypatch.setattr(bpe, "WINDOW", 77)
    tokenizer, content = learnt(text, 299), text.encode()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert [idx for part in tokenizer.encode_stream([content[:333], content[333:]]) for idx in part.tolist()] == ids


def doubling(count: int) -> list[str]:
    """Tokens of which each is twice as long as the one before."""
    return ["a" * 2**n for n in range(1, count + 1)]


MALICIOUS: dict[str, Any] = {
    "no list": {"tokens": "ab"},
    "a dictionary": {"tokens": {"ab": 256}},
    "nothing": {"tokens": None},
    "no tokens at all": {},
    "a field too many": {"tokens": ["ab"], "pattern": "(a+)+$"},
    "numbers": {"tokens": [256]},
    "pairs": {"tokens": [[97, 98]]},
    "true": {"tokens": [True]},
    "empty": {"tokens": [""]},
    "a single byte": {"tokens": ["a"]},
    "the same twice": {"tokens": ["ab", "ab"]},
    "made of nothing": {"tokens": ["abc"]},
    "made of a later one": {"tokens": ["abc", "ab"]},
    "no byte": {"tokens": ["\u0100a"]},
    "half a character": {"tokens": ["\ud800a"]},
    "longer than any": {"tokens": doubling(9)},
    "doubling without an end": {"tokens": doubling(22)},
    "more than fit": {"tokens": [chr(n // 256) + chr(n % 256) for n in range(65_281)]},
}


@pytest.mark.parametrize("kind", ["bpe", "gpt2"])
@pytest.mark.parametrize("value", MALICIOUS.values(), ids=MALICIOUS.keys())
def test_a_file_that_is_not_just_what_was_written_is_refused(kind: str, value: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^x: .*; run `gptmodel prepare` again$"):
        tokenizer_from_json({"kind": kind, **value}, "x")


def test_as_many_and_as_long_tokens_as_there_may_be_are_read() -> None:
    most = [chr(n // 256) + chr(n % 256) for n in range(65_280)]
    tokenizer = tokenizer_from_json({"kind": "bpe", "tokens": most}, "x")
    assert tokenizer.vocab_size == 1 << 16
    assert tokenizer.encode("\x00\x01") == [257]
    assert tokenizer_from_json({"kind": "bpe", "tokens": doubling(8)}, "x").byte_lengths().max() == LONGEST
