"""Tokens that are several bytes, or parts of a character: sampled, stopped, scored, served and told by passages."""

import math
from functools import cache

import numpy as np
import pytest
from model_helpers import language_model, sample_params, scramble, small_model

from gptmodel.data.prepared import beginning
from gptmodel.evaluation.spans import SPAN_BYTES, passages, span_losses
from gptmodel.language_model import LanguageModel
from gptmodel.sampling.generate import sample_pieces
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.sampling.stops import GrowingText
from gptmodel.scoring import score_text
from gptmodel.serving.completions import Piece, Wanted, complete, token_names
from gptmodel.serving.protocol import joined
from gptmodel.text_model import TextModel
from gptmodel.tokenizers.bpe import LONGEST, BpeTokenizer

TEXT = "To be, or not to be: Гамлет спрашивает, 漢字 🙂 naïve. The rest is silence.\n" * 9


@cache
def words() -> LanguageModel:
    """A model of tokens among which are a blank with the first half of a letter, and halves of letters."""
    tokenizer = BpeTokenizer.fit([TEXT.encode()], [], 330)
    tokens = {tokenizer.token_bytes(idx) for idx in range(tokenizer.vocab_size)}
    assert any(token.startswith(b" ") and _is_cut(token) for token in tokens)
    return language_model(scramble(small_model(vocab_size=tokenizer.vocab_size)), tokenizer=tokenizer)


def _is_cut(token: bytes) -> bool:
    return len(token) > 1 and token.decode(errors="replace").endswith("\ufffd")


def ids_of(text: str) -> list[int]:
    return words().tokenizer.encode(text)


def test_samples_are_the_texts_of_their_tokens() -> None:
    params = sample_params(prompt="Гамлет 漢", max_new_tokens=60, num_samples=3)
    pieces = sample_pieces(IncrementalModel(words()), params.prompt, params)
    texts = ["".join(of_one) for of_one in zip(*pieces, strict=True)]
    assert len(set(texts)) == 3
    assert all(text.startswith("Гамлет 漢") for text in texts)


@pytest.mark.parametrize("stop", ["or n", "м", " с", "字 🙂", "e. Th"])
def test_a_stop_may_begin_and_end_within_a_token(stop: str) -> None:
    growing = GrowingText(words().tokenizer, ids_of("To"), [stop])
    shown = growing.prompt + "".join(map(growing.push, ids_of(TEXT.removeprefix("To"))))
    assert growing.stopped
    assert shown == TEXT[: TEXT.index(stop)]


def test_a_score_is_of_each_token_and_of_the_bytes_behind_the_first() -> None:
    score = score_text(words(), TEXT)
    ids = ids_of(TEXT)
    assert score.tokens == len(ids) - 1
    assert "".join(piece for piece, _ in score.pieces) == TEXT
    assert sum(tokens for _, tokens in score.pieces) == len(ids)
    scored_bytes = len(TEXT.encode()) - len(words().tokenizer.token_bytes(ids[0]))
    assert score.bits_per_byte == pytest.approx(math.fsum(score.nats) / math.log(2) / scored_bytes)


def test_an_answer_names_every_token_and_where_it_begins() -> None:
    model, ids = words(), ids_of("Гамлет: 漢字 🙂")
    wanted = Wanted([ids], sample_params(max_new_tokens=40, num_samples=2), 40, echo=True, logprobs=5)
    turns = complete(TextModel(model, "words"), token_names(model.tokenizer), wanted)
    choices: list[Piece] = joined([piece for turn in turns for piece in turn])
    for choice in choices:
        assert choice.text.startswith("Гамлет: 漢字 🙂")
        content = b"".join(_bytes(token.name) for token in choice.tokens)
        assert content.decode(errors="replace") == choice.text
        assert len(choice.tokens) == len(ids) + 40
        offsets = [token.offset for token in choice.tokens]
        assert offsets == sorted(offsets)
        assert offsets[: len(ids)] == _begins(ids)


def _bytes(name: str) -> bytes:
    parts = name.removeprefix("bytes:").split("\\x")[1:] if name.startswith("bytes:") else None
    return name.encode() if parts is None else bytes(int(part, 16) for part in parts)


def _begins(ids: list[int]) -> list[int]:
    """Characters that are complete before each token."""
    stream, begins, length = words().tokenizer.stream(), [], 0
    for idx in ids:
        begins.append(length)
        length += len(stream.push(idx))
    return begins


def test_losses_by_passages_add_up_to_those_of_the_tokens() -> None:
    tokenizer = words().tokenizer
    assert LONGEST <= SPAN_BYTES  # so that in each span a token begins
    ids = np.array(ids_of(TEXT * 4))
    nats = np.random.default_rng(0).random(len(ids)).astype(np.float32)
    spans = span_losses(nats, ids, tokenizer.byte_lengths())
    assert len(spans) == -(-len((TEXT * 4).encode()) // SPAN_BYTES)
    assert spans.sum() == pytest.approx(nats.sum(), rel=1e-5)
    shown = passages(nats, ids, tokenizer)["hardest"]
    for passage in shown:
        assert len(passage["tokens"]) == len(passage["nats"])
        assert "".join(passage["tokens"]) in TEXT * 4 or "\ufffd" in "".join(passage["tokens"])


@pytest.mark.parametrize("most", [1, 10, 100, 10**6])
def test_the_beginning_of_a_split_is_counted_in_bytes(most: int) -> None:
    tokenizer, ids = words().tokenizer, np.array(ids_of(TEXT))
    lengths = tokenizer.byte_lengths()[ids]
    first = beginning(ids, tokenizer, most)
    assert lengths[: len(first)].sum() <= most
    assert len(first) == len(ids) or lengths[: len(first) + 1].sum() > most
