"""Scores that are kept: the same numbers come back, and only where nothing that decides them has changed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_helpers import language_model, scramble, small_model
from tokenizer_helpers import prepare_params

from gptmodel.checkpoint.model_file import save_model
from gptmodel.compute.place import Place
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.evaluation import score_store
from gptmodel.evaluation.report import judge
from gptmodel.evaluation.score_store import ScoreStore
from gptmodel.evaluation.scores import Scores, score
from gptmodel.language_model import LanguageModel

CPU = Place.on("cpu")


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    (tmp_path / "input.txt").write_text("It was a bright cold day in April.\n" * 9, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", prepare_params("char", 0.8))
    return load_prepared(tmp_path / "prepared")


@pytest.fixture(params=["network", "with counts"])
def model(request: pytest.FixtureRequest, data: PreparedData) -> LanguageModel:
    changes = {"kneser_ney": 3, "kneser_ney_share": 0.5} if request.param == "with counts" else {}
    transformer = scramble(small_model(vocab_size=data.tokenizer.vocab_size, **changes))
    return language_model(transformer, data.train.ids.copy(), tokenizer=data.tokenizer)


def same(one: Scores, other: Scores) -> bool:
    return all(
        np.array_equal(getattr(getattr(one, split), loss).totals, getattr(getattr(other, split), loss).totals)
        for split in ("train", "val")
        for loss in ("loss", "network")
    )


@pytest.mark.parametrize("max_tokens", [None, 40])
def test_what_is_kept_comes_back(
    model: LanguageModel, data: PreparedData, max_tokens: int | None, tmp_path: Path
) -> None:
    scores, store = score(model, data, CPU, max_tokens), ScoreStore(tmp_path / "runs" / "scores" / "a.npz")
    assert store.load() is None
    store.save(scores)
    loaded = store.load()
    assert loaded is not None
    assert same(loaded, scores)
    assert judge(loaded, 0.1).metrics() == judge(scores, 0.1).metrics()
    assert judge(loaded, 0.1).lines() == judge(scores, 0.1).lines()


def test_whatever_decides_the_scores_is_in_the_name(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "model.pth", tmp_path / "other.pth"
    for seed, path in enumerate((file, other)):
        save_model(path, language_model(small_model(seed, data.tokenizer.vocab_size), tokenizer=data.tokenizer), {})

    def name(model_file: Path = file, max_tokens: int | None = None, place: Place = CPU) -> str:
        return ScoreStore.of(tmp_path, model_file, data, place, max_tokens).path.name

    names = {name(), name(other), name(max_tokens=40), name(place=replace(CPU, compiler="a compiler"))}
    monkeypatch.setattr(score_store, "code_digest", lambda stage: f"other code of {stage}")
    names.add(name())
    monkeypatch.undo()
    val = tmp_path / "prepared" / "val.bin"
    before = name()
    assert before in names
    content = val.read_bytes()
    val.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    names.add(name())
    assert len(names) == 6


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "not a number", "a folder", "other arrays"])
def test_a_damaged_file_is_as_good_as_none(data: PreparedData, damage: str, tmp_path: Path) -> None:
    model = language_model(small_model(vocab_size=data.tokenizer.vocab_size), tokenizer=data.tokenizer)
    store = ScoreStore(tmp_path / "a.npz")
    store.save(score(model, data, CPU))
    with np.load(store.path) as file:
        arrays = dict(file)
    content = store.path.read_bytes()
    store.path.unlink()
    if damage == "a folder":
        store.path.mkdir()
    elif damage in ("not a number", "other arrays"):
        arrays["val_losses"][0, 0] = np.nan
        np.savez(store.path, **(arrays if damage == "not a number" else {"a": np.zeros(3)}))
    else:
        store.path.write_bytes({"cut": content[:-40], "text": b"losses", "empty": b""}[damage])
    assert store.load() is None


def test_a_flipped_bit_is_as_good_as_no_file_or_changes_nothing(data: PreparedData, tmp_path: Path) -> None:
    model = language_model(small_model(vocab_size=data.tokenizer.vocab_size), tokenizer=data.tokenizer)
    store, scores = ScoreStore(tmp_path / "a.npz"), score(model, data, CPU)
    store.save(replace(scores, spans=np.zeros(2000, np.float32)))  # so long that not all of it is checked at once
    content = store.path.read_bytes()
    first, last = content.index(b"spans.npy"), content.rindex(b"spans.npy")  # beside the array, and in the directory
    for place in (*range(first - 30, first + 100), *range(last - 46, last), *range(len(content) - 22, len(content))):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        store.path.write_bytes(damaged)
        loaded = store.load()
        assert loaded is None or (same(loaded, scores) and not loaded.spans.any())


def test_only_the_newest_are_kept(data: PreparedData, tmp_path: Path) -> None:
    model = language_model(small_model(vocab_size=data.tokenizer.vocab_size), tokenizer=data.tokenizer)
    scores = score(model, data, CPU)
    for number in range(score_store.KEPT + 3):
        store = ScoreStore(tmp_path / f"{number}.npz")
        store.save(scores)
        os.utime(store.path, (number, number))
    names = {int(path.stem) for path in tmp_path.glob("*.npz")}
    assert len(names) == score_store.KEPT
    assert min(names) == 3


def test_a_folder_that_cannot_be_written_stops_nothing(data: PreparedData, tmp_path: Path) -> None:
    model = language_model(small_model(vocab_size=data.tokenizer.vocab_size), tokenizer=data.tokenizer)
    (tmp_path / "scores").write_text("in the way", encoding="utf-8")
    ScoreStore(tmp_path / "scores" / "a.npz").save(score(model, data, CPU))
