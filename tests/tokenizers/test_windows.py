"""Where a long text is taken apart changes no token, and depends on the text alone."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.tokenizers import windows as module
from gptmodel.tokenizers.bpe import BpeTokenizer
from gptmodel.tokenizers.windows import windows

AWKWARD = " \n\t\r\u3000\xa0\x85\x1c\x1f\u2028'stae1²!漢🙂\u200b\u0301\u180e"


def parts(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(0, len(text), length))


@pytest.fixture(params=[1, 2, 3, 7, 30])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "WINDOW", request.param)
    return int(request.param)


def is_blank_after_a_word(text: str, at: int) -> bool:
    return text[at] in " \t\n\r" and not text[at - 1].isspace()


def test_the_windows_are_the_text_however_it_comes(small: int) -> None:
    text = "".join(random.Random(0).choices(AWKWARD, k=400))
    whole = list(windows([text]))
    assert "".join(whole) == text
    assert max(map(len, whole)) <= small
    for length in (1, 2, 5, 50, 399):
        assert list(windows(parts(text, length))) == whole
    assert list(windows([])) == list(windows([""])) == []


def test_a_window_ends_before_a_blank_if_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 8)
    assert list(windows(["one two three  ", "x" * 20, " y"])) == ["one two", " three", "  xxxxxx", "x" * 8, "xxxxxx y"]


@given(st.text(st.sampled_from(AWKWARD), max_size=60))
def test_a_cut_before_a_blank_after_a_word_changes_no_token(text: str) -> None:
    tokenizer = BpeTokenizer.fit([(AWKWARD * 5 + " it's ate 1 te\n\n  st" * 9).encode()], [], 300)
    ids = tokenizer.encode(text)
    for at in range(1, len(text)):
        if is_blank_after_a_word(text, at):
            assert tokenizer.encode(text[:at]) + tokenizer.encode(text[at:]) == ids
