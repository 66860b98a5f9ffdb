"""What simpler methods make of a text, against counts by hand and the sizes of Python's own compressors."""

import bz2
import json
import lzma
import math
import random
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tokenizer_helpers import prepare_params

from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.evaluation import baselines
from gptmodel.evaluation.baselines import (
    DIGEST,
    FIRST_MB,
    REPEATED,
    XZ,
    kneser_ney_nats,
    line_on_repeated,
    lines_on_val,
    measure,
    read_baselines,
    repeated_in_train,
    standing,
)
from gptmodel.evaluation.repetition import sentence
from gptmodel.kneser_ney import KneserNey


def text() -> str:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefé", k=draw.randint(1, 6))) for _ in range(60)]
    return " ".join(draw.choices(words, k=2500))


def prepared(folder: Path, kind: Literal["char", "byte"] = "char", content: bytes | None = None) -> PreparedData:
    (folder / "input.txt").write_bytes(text().encode() if content is None else content)
    prepare(folder / "input.txt", folder / "prepared", prepare_params(kind, 0.8))
    return load_prepared(folder / "prepared")


def test_each_figure_is_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "CHUNK_TOKENS", 100)
    data = prepared(tmp_path)
    bits, left_out = measure(data)
    assert list(bits) == ["uniform", "unigram", "bigram", "kneser_ney_5", "bz2", "xz"]
    assert left_out == {}
    train, val = (data.tokenizer.decode(split.ids.tolist()) for split in (data.train, data.val))
    whole, head, size = (train + val).encode(), train.encode(), len(val.encode())
    assert bits["bz2"] == pytest.approx(8 * (len(bz2.compress(whole)) - len(bz2.compress(head))) / size, abs=1e-4)
    lengths = [len(lzma.compress(part, lzma.FORMAT_XZ, filters=XZ)) for part in (whole, head)]
    assert bits["xz"] == pytest.approx(8 * (lengths[0] - lengths[1]) / size, abs=1e-4)
    scored = len(val[1:].encode())
    uniform = (len(val) - 1) * math.log2(data.tokenizer.vocab_size) / scored
    assert bits["uniform"] == pytest.approx(uniform, abs=1e-4)
    seen = {character: train.count(character) for character in set(train)}
    chances = [(seen[c] + len(seen) / data.tokenizer.vocab_size) / (len(train) + len(seen)) for c in val[1:]]
    assert bits["unigram"] == pytest.approx(-sum(map(math.log2, chances)) / scored, abs=1e-4)
    assert bits["uniform"] > bits["unigram"] > bits["bigram"] > bits["kneser_ney_5"]


@pytest.mark.parametrize("numbers", [1, 700, 1 << 22])
def test_the_counts_see_the_four_tokens_before_each_across_every_border(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "CHUNK_NUMBERS", numbers)
    draw = np.random.default_rng(2)
    train, val = draw.integers(7, size=900), draw.integers(7, size=60)
    p = KneserNey.count(5, 7, 0.0, torch.from_numpy(train)).probabilities(torch.from_numpy(val[None, :-1]))
    whole = -p[0].gather(1, torch.from_numpy(val[1:, None])).double().log().sum()
    assert kneser_ney_nats(train, val, 7) == pytest.approx(float(whole), rel=1e-6)


def test_a_text_that_stands_there_four_times_is_measured(tmp_path: Path) -> None:
    """Where its n-grams occur four times and never three times, none of val may be impossible all the same."""
    draw = random.Random(3)
    verse = "".join(draw.choices("abcdef ", k=60))
    bits, _ = measure(prepared(tmp_path, content=(verse * 4 + "".join(draw.choices("abcdef ", k=60))).encode()))
    assert all(map(math.isfinite, bits.values())), bits


def test_bytes_that_are_no_text_are_compressed_as_they_are(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    data = prepared(tmp_path, "byte", content)
    cut = len(content) * 8 // 10
    added = len(bz2.compress(content)) - len(bz2.compress(content[:cut]))
    assert measure(data)[0]["bz2"] == pytest.approx(8 * added / (len(content) - cut), abs=1e-4)


def test_what_would_take_too_long_or_cannot_be_counted_is_left_out_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared(tmp_path)
    monkeypatch.setattr(baselines, "longest_order", lambda _: 4)
    bits, left_out = measure(data)
    assert "kneser_ney_5" not in bits
    assert "too many to be told apart" in left_out["kneser_ney_5"]
    monkeypatch.setattr(baselines, "LARGEST_TEXT", 1000)
    bits, left_out = measure(data)
    assert list(bits) == ["uniform", "unigram", "bigram"]
    assert left_out.keys() == {"kneser_ney_5", "bz2", "xz"}


def test_the_line_on_where_a_model_stands() -> None:
    bits = {"uniform": 6.285, "kneser_ney_5": 2.2334, "bz2": 2.4091, "xz": 2.4144}
    assert standing(bits, 2.6416) == ["xz 2.41, 5-gram counts 2.23, this model 2.64 bits per byte"]
    assert standing({"uniform": 6.285, "xz": 2.4144}, 2.6416) == ["xz 2.41, this model 2.64 bits per byte"]
    assert standing({"uniform": 6.285}, 2.6416) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"xz": "a", "val_sha256": "1"}', b'{"xz": 2.0}', b"null"])
def test_a_file_of_another_text_or_none_says_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    assert read_baselines(path, "1") == {}
    path.write_bytes(content)
    assert read_baselines(path, "1") == {}
    path.write_text(json.dumps({"xz": 2.5, DIGEST: "1"}), encoding="utf-8")
    assert read_baselines(path, "1") == {"xz": 2.5}
    assert read_baselines(path, "2") == {}


def test_what_stands_in_train_is_no_method_and_is_said_of_the_same_val_split_only(tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    path.write_text(json.dumps({"xz": 2.5, REPEATED: 0.5, DIGEST: "1"}), encoding="utf-8")
    assert read_baselines(path, "1") == {"xz": 2.5}
    assert lines_on_val(path, "1", 2.0) == ["xz 2.50, this model 2.00 bits per byte", sentence(0.5)]
    assert lines_on_val(path, "2", 2.0) == []
    for damaged in ({"xz": 2.5, DIGEST: "1"}, {REPEATED: "x", DIGEST: "1"}, []):
        path.write_text(json.dumps(damaged), encoding="utf-8")
        assert lines_on_val(path, "1", 2.0) in ([], ["xz 2.50, this model 2.00 bits per byte"])


def test_of_a_val_split_shorter_than_a_passage_nothing_is_said(tmp_path: Path) -> None:
    """All of it may stand in the train split, though no passage of 64 bytes does."""
    assert repeated_in_train(prepared(tmp_path, "char", b"once upon a time " * 15)) == {}


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_of_long_splits_the_beginnings_are_decoded_and_the_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["char", "byte"]
) -> None:
    data = prepared(tmp_path, kind, text().encode() + b"xyz" * 999)
    whole = repeated_in_train(data)
    assert list(whole) == [REPEATED]
    assert "first" not in line_on_repeated(whole)
    lengths = []

    def share(*splits: bytes) -> float:
        lengths.extend(len(split) for split in splits)
        return 0.0123

    monkeypatch.setattr(baselines, "MOST_BYTES", 1000)
    monkeypatch.setattr(baselines, "repeated_share", share)
    assert list(repeated_in_train(data)) == [REPEATED, FIRST_MB]
    assert all(999 <= length <= 1000 for length in lengths)
    assert line_on_repeated({REPEATED: 0.0123, FIRST_MB: 8}) == (
        "1.2% of the val split stands word for word in the train split (64 bytes and more, of the first 8 MB of each)"
    )
    path = tmp_path / "baselines.json"
    path.write_text(json.dumps({"xz": 2.5, REPEATED: 0.5, FIRST_MB: 8, DIGEST: "1"}), encoding="utf-8")
    assert read_baselines(path, "1") == {"xz": 2.5}
    assert "of the first 8 MB of each): its loss says less" in lines_on_val(path, "1", 2.0)[1]
