"""What a sample has in common with the training text, and the control of held-out text beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

from gptmodel import evaluation
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.evaluation.memorisation import GRAMS, memorisation
from gptmodel.prepare_params import PrepareParams

TRAIN = "the quick brown fox jumps over the lazy dog; "
VAL = "zebras the quick brown zebras and a lazy dog sleep by the old stone zebra wall at dusk and dawn, they do. "


def prepared(folder: Path, text: str, tokenizer: str = "char", share: float = 0.5) -> PreparedData:
    """A text that is cut in two halves."""
    (folder / "input.txt").write_bytes(text.encode())
    settings = PrepareParams.model_validate(
        PrepareParams.defaults() | {"tokenizer": tokenizer, "train_fraction": share}
    )
    prepare(folder / "input.txt", folder / "prepared", settings)
    return load_prepared(folder / "prepared")


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    train = (TRAIN * 5)[: len(VAL)].ljust(len(VAL), "x")
    return prepared(tmp_path, train + VAL)


def test_copies_are_counted_by_hand(data: PreparedData) -> None:
    result = memorisation(["a quick brown bee", "fox jumps"], data).content()["samples"]
    assert (result["longest"], result["longest_passage"]) == (13, " quick brown ")
    first = [1, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 2, 1, 1, 1]  # of " bee", " b" stands there and "ee" does not
    second = [9, 8, 7, 6, 5, 4, 3, 2, 1]
    lengths = first + second
    assert result["bytes"] == len(lengths)
    assert result["mean"] == pytest.approx(np.mean(lengths))
    fitting = [length >= 8 for length in first[:10] + second[:2]]  # where 8 bytes remain
    assert result["share_8"] == pytest.approx(np.mean(fitting))
    assert result["share_16"] == 0.0
    assert result["share_32"] is None


def test_the_control_is_as_much_of_the_held_out_text(data: PreparedData) -> None:
    found = memorisation(["z" * 20, "z" * 30, "z" * 30], data)
    assert [len(text) for text in found.held_out.texts] == [20, 30, 30]
    assert VAL.startswith(found.held_out.texts[0])
    assert VAL.endswith(found.held_out.texts[2])
    assert found.content()["held_out"]["longest_passage"] == " the quick brown "[: found.held_out.metrics()["longest"]]
    everything = memorisation(["z" * 1000], data)
    assert everything.held_out.texts == (VAL,)
    assert "; as much held-out text repeats " in found.sentence()
    assert "; less held-out text, as there is no more, repeats " in everything.sentence()


def test_a_whole_copy_is_called_one_in_words(data: PreparedData) -> None:
    sentence = memorisation([TRAIN[4:34], "zzz"], data).sentence()
    assert sentence.startswith("the longest passage copied from the training text is 30 characters; ")
    assert "held-out text repeats" in sentence


def test_of_a_long_text_it_is_said_how_much_was_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(tmp_path, "ab" * 600_000 + "the end of what is trained on" + "ab" * 600_000, share=0.51)
    whole = memorisation(["the end of what"], data)
    assert whole.sentence().startswith("the longest passage copied from the training text is 15 characters; ")
    assert "train_first_mb" not in whole.content()
    monkeypatch.setattr(evaluation.memorisation, "MOST_BYTES", 1 << 20)
    part = memorisation(["the end of what"], data)
    assert part.sentence().startswith("the longest passage copied from the first 1 MB of the training text is 1 char")
    assert part.content()["train_first_mb"] == 1


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_spans_are_in_characters_whatever_the_tokens_are(tmp_path: Path, tokenizer: str) -> None:
    train = "äöü grün weiß £ 日本語 text und so weiter"
    data = prepared(tmp_path, train + "\n" + "x" * len(train.encode()), tokenizer)
    assert data.tokenizer.decode(data.train.ids).startswith(train[:25])
    (text,) = memorisation(["## grün weiß £ 日本 ## 日本語 tex ## £ 日本"], data).content()["texts"]
    assert [text["text"][start:end] for start, end in text["copied"]] == [" grün weiß £ 日本", " 日本語 tex", " £ 日本"]


def test_a_character_that_is_cut_in_two_is_no_part_of_a_copy(tmp_path: Path) -> None:
    data = prepared(tmp_path, "abcdefgh日" + "y" * 30, "byte", share=11 / 41)
    (text,) = memorisation(["abcdefgh既"], data).content()["texts"]  # both begin with the bytes E6 97
    assert [text["text"][start:end] for start, end in text["copied"]] == ["abcdefgh"]


def test_texts_that_are_empty_have_nothing_to_tell(data: PreparedData) -> None:
    content = memorisation(["", ""], data).content()
    assert content["samples"] | {"bytes": 0, "longest": 0, "mean": None} == content["samples"]
    assert [content["samples"][f"share_{count}"] for count in GRAMS] == [None] * 3
    assert content["sentence"] == "nothing was written that could be a copy"
    json.dumps(content, allow_nan=False)
