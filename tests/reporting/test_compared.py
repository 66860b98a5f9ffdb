"""Comparisons in words, as values and as a page."""

import json

import numpy as np
import pytest
from model_helpers import small_model

from gptmodel.config import SECTIONS
from gptmodel.errors import DataError
from gptmodel.files import json_bytes
from gptmodel.language_model import LanguageModel
from gptmodel.reporting.comparison import Comparison, Run, page, telling_passages
from gptmodel.reporting.settings import training_of
from gptmodel.tokenizers.bpe import BpeTokenizer

SPANS = 4 * 30
TEXT = ("<b>what</b> stands there\n" * 2000).encode()[: 256 * SPANS]


def run(name: str, shift: float, spans: int = SPANS, **settings: object) -> Run:
    """A run whose losses are above others' by about so many nats a span."""
    noise = np.random.default_rng(len(name)).normal(0, 5, spans)
    hard = np.random.default_rng(0).normal(400, 80, spans)
    return Run(name, settings, (hard + shift + noise).astype(np.float32))


def test_each_group_is_set_beside_the_first() -> None:
    runs = [run("first", 0.0, a=1), run("worse one", 30.0, a=2), run("equal", 0.0, a=1, b=None)]
    comparison = Comparison.of(runs)
    text = "\n".join(comparison.lines())
    assert "settings that differ: a 1 -> 2" in text
    assert "worse one is worse than first: +0.1" in text
    assert "settings that differ: b - -> null" in text
    assert "which is better, equal or first, cannot be told: " in text
    values = json.loads(json_bytes(comparison.values()))
    assert [pair["word"] for pair in values["comparisons"]] == ["worse", "cannot be told"]
    assert values["comparisons"][0]["nats_per_byte"] == pytest.approx(30 / 256, rel=0.2)


def test_the_same_training_twice_is_one_seed() -> None:
    first, other = run("HEAD", 0.0, **{"train.seed": 1}), run("other", 30.0, **{"train.seed": 1, "a": 2})
    twice = Run("models/model.pth", first.settings, first.losses)
    comparison = Comparison.of([first, twice, other])
    lines = comparison.lines()
    assert "models/model.pth: of the settings and the seed of another one" in "\n".join(lines)
    assert lines[-3:] == Comparison.of([first, other]).lines()[-3:]
    assert comparison.values()["groups"][0] == {"runs": ["HEAD"], "again": ["models/model.pth"], "seed_deviation": None}
    assert [group.names for group in Comparison.of([first, twice]).groups] == [("HEAD",), ("models/model.pth",)]


def grounds(*runs: Run) -> str:
    """What the word of the second group rests on."""
    return Comparison.of(runs).lines()[-1]


def test_what_the_word_rests_on_and_what_would_tell_more() -> None:
    first, second = run("first", 0.0, seed=1), run("other", 30.0, a=2)
    of_text = grounds(first, second)
    assert of_text.startswith("this rests on the noise of the text alone, so it is about these two models; ")
    assert of_text.endswith("train with other seeds, with the settings of each: `dvc exp run -S train.seed=1`")
    assert grounds(first, run("other", 1.0, seed=1)).startswith("no setting differs")

    def seeded(name: str, shift: float, seed: int, **settings: int) -> Run:
        return run(name, shift, **{"train.seed": seed, **settings})

    assert grounds(seeded("a", 0.0, 1), seeded("b", 9.0, 2)).startswith("they differ in train.seed alone")
    both = grounds(seeded("a", 0.0, 1), seeded("aa", 0.1, 2), seeded("b", 30.0, 1, a=2))
    assert both.startswith("this rests on the noise of the text and of train.seed, so it is about the settings: ")
    assert "find out more" not in both
    seeds = grounds(seeded("a", 0.0, 1), seeded("aa", 9.0, 2), seeded("b", 15.0, 1, a=2))
    assert seeds.endswith(
        "to find out more, train with other seeds, with the settings of each: `dvc exp run -S train.seed=3`"
    )
    text = grounds(seeded("a", 0.0, 1), seeded("c", 0.0, 2), seeded("bb", 0.0, 1, a=2))
    assert text.endswith("to find out more, hold out more text, by a smaller prepare.train_fraction, and train again")
    little = grounds(run("a", 0.0, spans=8), run("b", 0.0, spans=8, a=2))
    assert little.startswith("to find out more, hold out more text")
    part = run("a", 0.0, spans=8)
    part.losses[2] = np.nan
    little = grounds(part, run("b", 0.0, spans=8, a=2))
    assert little.startswith("to find out more, let evaluate score more (evaluate.max_tokens), or hold out more text")
    values = [pair.values()["rests_on"] for pair in Comparison.of([first, second]).pairs]
    assert values == [["text"]]


def test_with_too_little_text_there_are_words_and_no_numbers_that_json_has_not() -> None:
    seeds = [run(name, 0.0, spans=3, a=1, **{"train.seed": seed}) for name, seed in (("first", 1), ("other", 2))]
    comparison = Comparison.of([*seeds, run("second", 9.0, spans=3, a=2)])
    said = "too little text to say whether second is better than first (2 seeds): 0 passages of 1 kB"
    assert said in comparison.lines()[-2]
    assert comparison.lines()[:3] == [f"{name:<6}  no passage was scored" for name in ("first", "other", "second")]
    assert "deviation" not in "\n".join(comparison.lines())
    values = json.loads(json_bytes(comparison.values()))
    assert values["runs"][0]["bits_per_byte"] is None
    assert values["comparisons"][0]["nats_per_byte"] is None
    assert values["groups"][0]["seed_deviation"] is None


def trained(vocab_size: int, train: str) -> LanguageModel:
    """A model of so many tokens that was trained on a file of this digest."""
    tokenizer = BpeTokenizer.fit([TEXT[:5000]], [], vocab_size)
    provenance = {"train": SECTIONS["train"].defaults(), "data": {"train.bin": train * 64, "val.bin": "f" * 64}}
    return LanguageModel(small_model(vocab_size=vocab_size), tokenizer, None, provenance)


@pytest.mark.parametrize(
    ("other", "told"),
    [(trained(270, "a"), "vocab_size 260 -> 270"), (trained(260, "b"), f"train.bin {'a' * 16} -> {'b' * 16}")],
    ids=["another vocabulary", "another text"],
)
def test_another_vocabulary_and_another_text_to_train_on_are_no_other_seed(other: LanguageModel, told: str) -> None:
    first, second = training_of(trained(260, "a")), training_of(other)
    comparison = Comparison.of([run("a", 0.0, **first), run("b", 0.0, **second), run("c", 0.0, a=2)])
    assert [group.names for group in comparison.groups] == [("a",), ("b",), ("c",)]
    assert f"settings that differ: {told}" in comparison.lines()


def test_losses_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match=r"different texts \(spans: first 120, second 119\)"):
        Comparison.of([run("first", 0.0), run("second", 0.0, spans=119)])


def test_a_page_shows_the_passages_that_differ_most_and_no_markup_of_them() -> None:
    runs = [run("<i>first</i>", 0.0, a=1), run("second", 5.0, a=2)]
    runs[1].losses[40:44] += 900
    comparison = Comparison.of(runs)
    (pair,) = comparison.pairs
    most = telling_passages(pair, TEXT)[0]
    assert most.start == 10 * 1024
    assert most.text == TEXT[most.start : most.start + 1024].decode()
    shown = page(comparison, TEXT)
    assert "&lt;b&gt;what&lt;/b&gt;" in shown
    assert "&lt;i&gt;first&lt;/i&gt;" in shown
    assert "<b>" not in shown
    assert "is not here" in page(comparison, b"")
