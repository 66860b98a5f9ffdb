"""The whole-split evaluation: the content of metrics/evaluate.json."""

import math
from pathlib import Path

import pytest
import torch
from model_helpers import language_model, scramble, small_model
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.config import PrepareParams
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import DataError
from gptmodel.evaluation.diagnosis import bigram_loss
from gptmodel.evaluation.loss import split_loss
from gptmodel.evaluation.report import evaluate_model

CPU = Place.on("cpu")
TEXT = "It was a bright cold day, déjà vu, and the clocks were striking thirteen.\n" * 6


@pytest.fixture(params=["char", "byte"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> PreparedData:
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", PrepareParams(tokenizer=request.param, train_fraction=0.8))
    return load_prepared(tmp_path / "prepared")


def test_the_metrics_are_those_of_both_splits(data: PreparedData) -> None:
    model = scramble(small_model(vocab_size=data.tokenizer.vocab_size))
    metrics = evaluate_model(language_model(model), data, 0.1, CPU).metrics()
    assert set(metrics) == {"train", "val", "bigram_loss", "gap", "verdict"}
    for name, tokens in (("train", data.train), ("val", data.val)):
        split_metrics = metrics[name]
        assert set(split_metrics) == {"loss", "perplexity", "bits_per_byte", "tokens"}
        ids = tokens.ids.tolist()
        assert split_metrics["tokens"] == len(ids) - 1
        loss = split_loss(model, tokens.ids, F.cross_entropy, CPU).mean
        assert split_metrics["loss"] == pytest.approx(loss, rel=1e-6)
        assert split_metrics["perplexity"] == pytest.approx(math.exp(split_metrics["loss"]), rel=1e-12)
        scored = len(data.tokenizer.decode(ids).encode()) - len(data.tokenizer.decode(ids[:1]).encode())
        assert split_metrics["bits_per_byte"] == pytest.approx(loss * (len(ids) - 1) / math.log(2) / scored, rel=1e-6)
    assert metrics["gap"] == metrics["val"]["loss"] - metrics["train"]["loss"]
    assert metrics["bigram_loss"] == bigram_loss(data.train.ids, data.val.ids, data.tokenizer.vocab_size)
    assert metrics["verdict"] == "underfitting"  # random weights


def test_a_train_loss_of_which_counts_know_the_text_is_said_to_flatter(data: PreparedData) -> None:
    vocab_size = data.tokenizer.vocab_size
    transformer = scramble(small_model(vocab_size=vocab_size, kneser_ney=4, kneser_ney_share=0.9))
    report = evaluate_model(language_model(transformer, data.train.ids.copy()), data, 0.1, CPU)
    assert report.train.split.mean < report.val.split.mean
    assert "memorised the train split" in report.lines()[-1]
    plain = evaluate_model(language_model(scramble(small_model(vocab_size=vocab_size))), data, 0.1, CPU)
    assert plain.train.split.mean > 2 * report.train.split.mean
    assert "memorised the train split" not in "".join(plain.lines())


def test_losses_that_are_no_number_are_an_error_that_names_the_split(data: PreparedData) -> None:
    model = small_model(vocab_size=data.tokenizer.vocab_size)
    with torch.no_grad():
        model.decoder.bias[0] = math.nan
    with pytest.raises(DataError, match=r"train\.bin.*nan"):
        evaluate_model(language_model(model), data, 0.1, CPU)


def test_a_val_split_that_is_foretold_to_the_letter_is_judged_too(tmp_path: Path) -> None:
    """Its loss is 0: a share of that is not to be divided out."""
    (tmp_path / "input.txt").write_text("ab" * 80 + "a" * 40, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", PrepareParams(tokenizer="char", train_fraction=0.8))
    model = small_model(vocab_size=2)
    with torch.no_grad():
        model.decoder.bias[0] = 1000.0
    report = evaluate_model(language_model(model), load_prepared(tmp_path / "prepared"), 0.1, CPU)
    assert report.metrics()["val"] == {"loss": 0.0, "perplexity": 1.0, "bits_per_byte": 0.0, "tokens": 39}
    assert report.diagnosis.gap < 0
