"""How much of a val split stands in train, against a search byte by byte."""

import random

import pytest

from gptmodel.evaluation import repetition
from gptmodel.evaluation.repetition import repeated_share, sentence


def by_hand(train: bytes, val: bytes) -> float:
    covered = [False] * len(val)
    for start in range(len(val) - 63):
        if val[start : start + 64] in train:
            covered[start : start + 64] = [True] * 64
    return sum(covered) / len(val)


@pytest.mark.parametrize("chunk_bytes", [1, 50, 64, 1000, 1 << 22])
def test_the_share_is_that_of_a_search(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(repetition, "CHUNK_BYTES", chunk_bytes)
    draw = random.Random(1)
    train = draw.randbytes(3000)
    for _ in range(5):
        start, length = draw.randrange(2800), draw.randint(60, 200)
        val = draw.randbytes(100) + train[start : start + length] + draw.randbytes(100) + train[-63:] + train[:64]
        assert repeated_share(train, val) == pytest.approx(by_hand(train, val))
    assert by_hand(train, val) > 0


@pytest.mark.parametrize(
    ("train", "val", "share"),
    [(b"a" * 63, b"a" * 99, 0), (b"a" * 64, b"a" * 99, 1), (b"x", b"", 0), (b"", b"x" * 70, 0)],
)
def test_short_texts(train: bytes, val: bytes, share: float) -> None:
    assert repeated_share(train, val) == share


def test_it_is_said_in_words() -> None:
    assert sentence(0.012) == "1.2% of the val split stands word for word in the train split (64 bytes and more)"
    assert sentence(0.5).endswith("(64 bytes and more): its loss says less about new text")
