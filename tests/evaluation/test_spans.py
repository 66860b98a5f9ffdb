"""The loss by spans of 256 bytes, against a loop over the bytes of the text."""

import math
import random
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from model_helpers import language_model, scramble, small_model
from tokenizer_helpers import prepare_params

from gptmodel.compute.place import Place
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import DataError
from gptmodel.evaluation import loss, spans
from gptmodel.evaluation.scores import Scores, score
from gptmodel.evaluation.spans import passages, read_losses, span_losses, token_losses, val_losses, write_losses
from gptmodel.tokenizers.char import CharTokenizer

CPU = Place.on("cpu")


def spans_by_hand(nats: list[float], lengths: list[int]) -> list[float]:
    """Walk over the bytes; a token counts where its first byte stands."""
    sums, at = [0.0] * math.ceil(sum(lengths) / 256), 0
    for nats_of_one, length in zip(nats, lengths, strict=True):
        sums[at // 256] += nats_of_one
        at += length
    return sums


@pytest.mark.parametrize("chunk_tokens", [1, 100, 1 << 20])
@pytest.mark.parametrize("tokens", [1, 100, 255, 256, 257, 3000])
def test_the_sums_are_those_of_a_loop(tokens: int, chunk_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "CHUNK_TOKENS", chunk_tokens)
    draw = random.Random(tokens)
    nats, lengths = [draw.random() for _ in range(tokens)], [draw.randint(1, 4) for _ in range(tokens)]
    sums = span_losses(np.array(nats), np.array(lengths), np.arange(5))
    np.testing.assert_allclose(sums, spans_by_hand(nats, lengths), rtol=1e-6)
    assert sums.dtype == np.float32


def test_a_token_that_crosses_a_border_counts_where_it_starts() -> None:
    sums = span_losses(np.ones(200), np.full(200, 3), np.arange(5))
    assert sums.tolist() == [86.0, 85.0, 29.0]  # byte 255 begins the 86th


def of_text(kind: Literal["char", "byte"], folder: Path) -> PreparedData:
    text = "It was a bright cold day, déjà vu, and the clocks were striking thirteen.\n" * 90
    (folder / "input.txt").write_text(text, encoding="utf-8")
    prepare(folder / "input.txt", folder / kind, prepare_params(kind, 0.5))
    return load_prepared(folder / kind)


def scored(data: PreparedData, max_tokens: int | None = None) -> Scores:
    model = scramble(small_model(vocab_size=data.tokenizer.vocab_size))
    return score(language_model(model, tokenizer=data.tokenizer), data, CPU, max_tokens)


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_the_spans_add_up_to_the_loss_of_the_split(kind: Literal["char", "byte"], tmp_path: Path) -> None:
    data = of_text(kind, tmp_path)
    scores = scored(data)
    assert len(scores.spans) == math.ceil(sum(data.tokenizer.byte_lengths()[data.val.ids]) / 256)
    assert scores.spans.astype(float).sum() == pytest.approx(scores.val.loss.total, rel=1e-6)
    model = language_model(scramble(small_model(vocab_size=data.tokenizer.vocab_size)), tokenizer=data.tokenizer)
    np.testing.assert_allclose(val_losses(model, data.val.ids, CPU), scores.spans, rtol=1e-5)


def test_tokenizers_of_one_text_have_spans_of_the_same_bytes(tmp_path: Path) -> None:
    """Both splits are cut at the same character only where the text allows it: here the whole text is compared."""
    char, byte = of_text("char", tmp_path), of_text("byte", tmp_path)
    counted = []
    for data in (char, byte):
        ids, lengths = np.concatenate([data.train.ids, data.val.ids]), data.tokenizer.byte_lengths()
        counted.append(span_losses(lengths[ids].astype(float), ids, lengths))
    assert len(counted[0]) == len(counted[1])
    assert np.abs(np.cumsum(counted[0]) - np.cumsum(counted[1])).max() <= 1  # a character of two bytes on a border


def test_a_span_that_was_not_scored_whole_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = of_text("char", tmp_path)
    monkeypatch.setattr(loss, "RUNS", 2)
    whole, part = scored(data), scored(data, max_tokens=1600)
    is_scored = np.isfinite(part.spans)
    assert 0 < is_scored.sum() < len(is_scored)
    np.testing.assert_allclose(part.spans[is_scored], whole.spans[is_scored], rtol=1e-5)
    assert all(math.isfinite(sum(passage["nats"])) for kind in part.passages.values() for passage in kind)


def test_passages_are_the_spans_of_least_and_most_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "PASSAGES", 2)
    tokenizer = CharTokenizer("abé")
    ids = np.array(tokenizer.encode(("ab" * 127 + "é") * 6 + "ab"))
    nats = np.repeat([9.0, 1.0, 3.0, 2.0, np.nan, 4.0, 0.0], [255] * 6 + [2])
    found = passages(nats, ids, tokenizer)
    assert [passage["byte"] for passage in found["hardest"]] == [5 * 256, 2 * 256]  # the first span is left out
    assert [passage["byte"] for passage in found["easiest"]] == [256, 3 * 256]
    easiest = found["easiest"][0]
    assert "".join(easiest["tokens"]) == "ab" * 127 + "é"
    assert easiest["nats"] == [1.0] * 255
    assert easiest["bits_per_byte"] == pytest.approx(255 / 256 / math.log(2), abs=1e-4)


def test_a_large_text_takes_little_more_memory_than_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "CHUNK_TOKENS", 1 << 12)
    tokenizer, ids, nats = CharTokenizer("ab"), np.zeros(1_000_000, np.uint8), np.ones(1_000_000, np.float32)
    tracemalloc.start()
    try:
        assert len(span_losses(nats, ids, tokenizer.byte_lengths())) == 3907
        assert len(passages(nats, ids, tokenizer)["hardest"]) == 10
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_short_text_has_no_passages(tmp_path: Path) -> None:
    tokenizer = CharTokenizer("ab")
    assert passages(np.ones(300), np.zeros(300, int), tokenizer) == {"hardest": [], "easiest": []}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    losses = np.array([1.0, np.nan, 2.5], np.float32)
    path = tmp_path / "evaluation" / "val_losses.npy"
    write_losses(path, losses, "0123456789abcdef")
    np.testing.assert_array_equal(read_losses(path, "0123456789abcdef"), losses)
    np.testing.assert_array_equal(np.load(path), losses)
    assert read_losses(path, "fedcba9876543210") is None
    np.save(path, losses)  # as evaluate wrote it once
    assert read_losses(path, "0123456789abcdef") is None


def crafted(shape: str) -> bytes:
    """A file of numpy with another shape than that of what follows."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(400)


def test_whatever_else_is_in_the_file_is_a_line(tmp_path: Path) -> None:
    path, mark = tmp_path / "val_losses.npy", "0123456789abcdef"
    write_losses(path, np.ones(100, np.float32), mark)
    content = path.read_bytes()
    flipped = [bytearray(content) for _ in range(8 * 128)]
    for bit, damaged in enumerate(flipped):
        damaged[bit // 8] ^= 1 << bit % 8
    flipped = [damaged for damaged in flipped if b"(104,)" not in damaged]  # an older file, with no mark behind that
    shapes = ["(1000000000000,)", "(-5,)", "(-4,)", "(10000000000000000000000,)", "(100, 1)", "(" * 50]
    others = [
        b"losses",
        b"",
        content[:-17],
        content[:-1],
        content + b"\0",
        b"PK\x03\x04" + bytes(100),
        crafted("(-4,)")[:128],
    ]
    for damaged in [*flipped, *map(crafted, shapes), *others]:
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"val_losses\.npy: no losses of a text; run `dvc repro evaluate` again$"):
            read_losses(path, mark)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"val_losses\.npy: cannot be read: Is a directory"):
        read_losses(path, mark)


def test_the_loss_of_each_token_is_that_of_its_block(tmp_path: Path) -> None:
    data = of_text("char", tmp_path)
    model = language_model(scramble(small_model(vocab_size=data.tokenizer.vocab_size)), tokenizer=data.tokenizer)
    assert token_losses(model, data.val.ids, CPU).astype(float).sum() == pytest.approx(scored(data).val.loss.total)
