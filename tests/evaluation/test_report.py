"""The whole-split evaluation: the content of metrics/evaluate.json."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from model_helpers import language_model, scramble, small_model
from tokenizer_helpers import prepare_params
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import DataError
from gptmodel.evaluation.counting import PairCounts, counting_loss
from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.loss import split_loss
from gptmodel.evaluation.report import evaluate_model

CPU = Place.on("cpu")
TEXT = "It was a bright cold day, déjà vu, and the clocks were striking thirteen.\n" * 6


@pytest.fixture(params=["char", "byte"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> PreparedData:
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", prepare_params(request.param, 0.8))
    return load_prepared(tmp_path / "prepared")


def test_the_metrics_are_those_of_both_splits(data: PreparedData) -> None:
    model = scramble(small_model(vocab_size=data.tokenizer.vocab_size))
    metrics = evaluate_model(language_model(model, tokenizer=data.tokenizer), data, 0.1, CPU).metrics()
    assert list(metrics) == ["val", "gap", "verdict", "counting_loss", "train"]  # what compares comes first
    for name, tokens in (("train", data.train), ("val", data.val)):
        split_metrics = metrics[name]
        assert list(split_metrics) == ["loss", "bits_per_byte", "perplexity", "tokens"]
        ids = tokens.ids.tolist()
        assert split_metrics["tokens"] == len(ids) - 1
        loss = split_loss(model, tokens.ids, F.cross_entropy, CPU).mean
        assert split_metrics["loss"] == pytest.approx(loss, rel=1e-6)
        assert split_metrics["perplexity"] == pytest.approx(math.exp(split_metrics["loss"]), rel=1e-12)
        scored = len(data.tokenizer.decode(ids).encode()) - len(data.tokenizer.decode(ids[:1]).encode())
        assert split_metrics["bits_per_byte"] == pytest.approx(loss * (len(ids) - 1) / math.log(2) / scored, rel=1e-6)
    assert metrics["gap"] == metrics["val"]["loss"] - metrics["train"]["loss"]
    counts = PairCounts(data.train.ids, data.tokenizer.vocab_size)
    whole = [data.val.ids[None, :].astype(np.int64)]
    assert metrics["counting_loss"] == pytest.approx(counting_loss(counts, lambda: whole), rel=1e-12)
    assert metrics["verdict"] == "underfitting"  # random weights


def test_a_model_with_counts_is_judged_by_its_network_alone(data: PreparedData) -> None:
    """The counts know the train split by heart: the mixture's gap says nothing, and would be called overfitting."""
    vocab_size = data.tokenizer.vocab_size
    transformer = scramble(small_model(vocab_size=vocab_size, kneser_ney=4, kneser_ney_share=0.9))
    mixed = language_model(transformer, data.train.ids.copy(), tokenizer=data.tokenizer)
    report, plain = (evaluate_model(model, data, 0.1, CPU) for model in (mixed, replace(mixed, counts=None)))
    metrics, alone = report.metrics(), plain.metrics()
    assert metrics["train"]["loss"] == pytest.approx(split_loss(mixed, data.train.ids, F.cross_entropy, CPU).mean)
    assert metrics["train"]["loss"] < 0.5 * alone["train"]["loss"]
    assert metrics["network"] == {"train_loss": alone["train"]["loss"], "val_loss": alone["val"]["loss"]}
    assert (metrics["gap"], metrics["verdict"]) == (alone["gap"], alone["verdict"])
    assert "of the network alone" in report.lines()[2]
    assert "network" not in alone
    assert "network" not in "".join(plain.lines())


@pytest.mark.parametrize("text", ["no structure", "pairs", "few of each character"])
@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_model_that_has_learnt_nothing_but_frequencies_is_never_healthy(
    text: str, kind: Literal["char", "byte"], tmp_path: Path
) -> None:
    draw = random.Random(3)
    characters = [chr(0x4E00 + number) for number in range(300)]
    texts = {
        "no structure": "".join(draw.choices("abcdefghij", k=4000)),
        "pairs": "ab" * 900 + "ba" * 200,
        "few of each character": "".join(draw.choices(characters, [1 / (n + 1) for n in range(300)], k=3000)),
    }
    (tmp_path / "input.txt").write_text(texts[text], encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", prepare_params(kind, 0.9))
    data = load_prepared(tmp_path / "prepared")
    model = small_model(vocab_size=data.tokenizer.vocab_size)
    counts = np.bincount(data.train.ids, minlength=data.tokenizer.vocab_size)
    for added in (1e9, 100.0, 1.0, 0.1):  # from guessing to the frequencies of the train split
        with torch.no_grad():
            model.decoder.weight.zero_()
            model.decoder.bias.copy_(torch.from_numpy(np.log(counts + added)))
        report = evaluate_model(language_model(model, tokenizer=data.tokenizer), data, 0.1, CPU)
        assert report.diagnosis.verdict != "healthy"


def test_a_bound_is_kept_spread_evenly_and_said(data: PreparedData) -> None:
    model = scramble(small_model(vocab_size=data.tokenizer.vocab_size))  # blocks of 8
    report = evaluate_model(language_model(model, tokenizer=data.tokenizer), data, 0.1, CPU, max_tokens=60)
    for name, tokens in (("train", data.train), ("val", data.val)):
        metrics = report.metrics()[name]
        assert metrics["tokens"] == 56
        few = split_loss(model, tokens.ids, F.cross_entropy, CPU, max_blocks=7)
        assert metrics["loss"] == pytest.approx(few.mean, rel=1e-6)
        blocks = (2 * np.arange(7) + 1) * ((len(tokens.ids) - 1) // 8) // 14
        scored = np.concatenate([tokens.ids[8 * block + 1 : 8 * block + 9] for block in blocks])
        size = int(data.tokenizer.byte_lengths()[scored].sum())
        assert metrics["bits_per_byte"] == pytest.approx(few.total / math.log(2) / size, rel=1e-6)
    assert f"(56 of {len(data.train.ids) - 1:,} tokens, spread evenly)" in report.lines()[0]
    whole = evaluate_model(language_model(model, tokenizer=data.tokenizer), data, 0.1, CPU, max_tokens=10**6)
    assert whole.metrics()["val"]["tokens"] == len(data.val.ids) - 1
    assert "each scored once" in whole.lines()[1]


def test_what_to_do_comes_from_the_curve(data: PreparedData) -> None:
    model = language_model(scramble(small_model(vocab_size=data.tokenizer.vocab_size)), tokenizer=data.tokenizer)
    rows = [
        Evaluation(iteration=100 * n, tokens=0, seconds=0.0, learning_rate=0.1, train_loss=9 - n, val_loss=9 - n)
        for n in range(5)
    ]
    assert "still falling" in evaluate_model(model, data, 0.1, CPU, history=rows).lines()[-1]
    assert evaluate_model(model, data, 0.1, CPU).lines()[-1].startswith("give the model more capacity or iterations")


def test_losses_that_are_no_number_are_an_error_that_names_the_split(data: PreparedData) -> None:
    model = small_model(vocab_size=data.tokenizer.vocab_size)
    with torch.no_grad():
        model.decoder.bias[0] = math.nan
    with pytest.raises(DataError, match=r"train\.bin.*nan"):
        evaluate_model(language_model(model, tokenizer=data.tokenizer), data, 0.1, CPU)


def test_a_val_split_that_is_foretold_to_the_letter_is_judged_too(tmp_path: Path) -> None:
    """Its loss is 0: a share of that is not to be divided out."""
    (tmp_path / "input.txt").write_text("ab" * 80 + "a" * 40, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", prepare_params("char", 0.8))
    model = small_model(vocab_size=2)
    with torch.no_grad():
        model.decoder.bias[0] = 1000.0
    data = load_prepared(tmp_path / "prepared")
    report = evaluate_model(language_model(model, tokenizer=data.tokenizer), data, 0.1, CPU)
    assert report.metrics()["val"] == {"loss": 0.0, "perplexity": 1.0, "bits_per_byte": 0.0, "tokens": 39}
    assert report.diagnosis.gap < 0
