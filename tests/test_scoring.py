"""Log-probabilities of a text: each token once, from as many before it as was promised; the numbers a reader sees."""

import math
import re

import pytest
import torch
from model_helpers import language_model, scramble, small_model, token_ids

from gptmodel.errors import DataError
from gptmodel.language_model import LanguageModel
from gptmodel.scoring import Score, score_text, score_tokens
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer


def context(position: int, count: int, block_size: int) -> int:
    """Where the context of a target begins: contexts of whole blocks, half a block apart, the last one at the end."""
    step, end = max(1, block_size // 2), block_size
    while end < position:
        end += step
    return max(0, min(end, count) - block_size)


@pytest.mark.parametrize("block_size", [1, 2, 7, 8])
@pytest.mark.parametrize("length", [2, 7, 8, 9, 10, 12, 13, 30, 2000])
def test_each_token_is_scored_once_from_half_a_block_or_all_there_is(block_size: int, length: int) -> None:
    model = language_model(scramble(small_model(block_size=block_size, kneser_ney=2, kneser_ney_share=0.3)))
    ids = token_ids(length).tolist()
    parts = list(score_tokens(model, ids))
    assert torch.cat([part.targets for part in parts]).tolist() == ids[1:]
    logs = torch.cat([part.log_probabilities for part in parts])
    for target in {1, 2, *range(length // 2, min(length, length // 2 + 9)), length - 2, length - 1} & set(
        range(1, length)
    ):
        begin = context(target, length - 1, block_size)
        assert target - begin > min(target - 1, block_size // 2 - 1)
        plain = model.predict(torch.tensor([ids[begin:target]]))[0, -1].log_softmax(-1)
        torch.testing.assert_close(logs[target - 1], plain, rtol=0, atol=2e-5)


def bytes_model() -> LanguageModel:
    return language_model(scramble(small_model(vocab_size=256)), tokenizer=ByteTokenizer())


def test_the_numbers_are_those_of_the_text() -> None:
    score = score_text(bytes_model(), "né\n")
    assert (score.tokens, len(score.nats), score.scored_bytes) == (3, 3, 3)
    assert score.loss == pytest.approx(sum(score.nats) / 3)
    assert score.bits_per_byte == pytest.approx(sum(score.nats) / 3 / math.log(2))
    assert score.pieces == (("n", 1), ("é", 2), ("\n", 1))
    letters = CharTokenizer("né\n")
    model = language_model(scramble(small_model(vocab_size=3)), tokenizer=letters)
    assert score_text(model, "né\n").bits_per_byte == pytest.approx(
        sum(score_text(model, "né\n").nats) / 3 / math.log(2)
    )
    assert repr(score).startswith("Score(loss=")


def test_a_carriage_return_is_no_line_of_its_own_in_a_notebook() -> None:
    page = score_text(bytes_model(), "a\r\nb")._repr_html_()
    assert "\r" not in page
    assert (page.count("&#13;"), page.count("\n")) == (1, 1)


def test_what_a_notebook_shows_is_the_text_escaped_and_the_surprise_of_each_character() -> None:
    score = score_text(bytes_model(), '<b>"é"</b>&')
    page = score._repr_html_()
    text = re.sub(r"<span[^>]*>([^<]*)</span>", r"\1", page).partition(">")[2].partition("<")[0]
    assert text == "&lt;b&gt;&quot;é&quot;&lt;/b&gt;&amp;"
    titles = [float(number) for number in re.findall(r'title="([\d.]+) nats"', page)]
    assert len(titles) == len('<b>"é"</b>&')
    assert titles[0] == 0.0
    assert titles[1] == pytest.approx(score.nats[0], abs=0.006)
    assert titles[4] == pytest.approx(score.nats[3] + score.nats[4], abs=0.006)
    assert sum(titles) == pytest.approx(sum(score.nats), abs=0.1)
    cut = Score((1.0,), (("a", 1), ("\ufffd", 1)), 1)
    assert "\ufffd" in cut._repr_html_()


@pytest.mark.parametrize("text", ["", "a"])
def test_fewer_than_two_tokens_are_too_short(text: str) -> None:
    with pytest.raises(DataError, match="too short to score"):
        score_text(language_model(small_model()), text)


def test_scoring_leaves_the_model_and_torch_alone() -> None:
    model = bytes_model()
    before = {name: weight.clone() for name, weight in model.transformer.state_dict().items()}
    state = torch.get_rng_state()
    score_text(model, "a text of some length" * 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weight, before[name]) for name, weight in model.transformer.state_dict().items())
