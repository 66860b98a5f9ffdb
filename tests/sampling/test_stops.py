"""A text ends before its first stop, however its tokens cut it, and nothing is shown that has to be taken back."""

from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptmodel.sampling.stops import GrowingText
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer("abcé\n")


def grown(tokenizer: Tokenizer, ids: list[int], stops: list[str]) -> tuple[list[str], GrowingText]:
    text = GrowingText(tokenizer, tokenizer.encode("b"), stops)
    pieces = [text.push(idx) for idx in ids]
    return [*pieces, text.finish()], text


def first_to_end(text: str, stops: list[str]) -> str:
    """The text before the stop that is complete first, and the longest of those, found by trying every end."""
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


texts = st.text("abcé\n", max_size=24)
stop_lists = st.lists(st.text("abcé\n", min_size=1, max_size=5), max_size=4)


@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()], ids=lambda tokenizer: tokenizer.kind)
@given(text=texts, stops=stop_lists)
def test_a_text_ends_before_the_first_stop(tokenizer: Tokenizer, text: str, stops: list[str]) -> None:
    pieces, growing = grown(tokenizer, tokenizer.encode(text), stops)
    assert "".join(pieces) == first_to_end(text, stops)
    assert growing.stopped == ("".join(pieces) != text or any(text.endswith(stop) for stop in stops))
    assert growing.tokens_shown == len(tokenizer.encode("".join(pieces)))


@given(text=texts, stops=stop_lists)
def test_no_more_is_held_back_than_could_begin_a_stop(text: str, stops: list[str]) -> None:
    pieces, _ = grown(LETTERS, LETTERS.encode(text), stops)
    shown = first_to_end(text, stops)
    for count, out in enumerate(accumulate(map(len, pieces[:-1])), start=1):
        held = text[out:count]
        assert out == len(shown) or not held or any(stop.startswith(held) for stop in stops)


@given(ids=st.lists(st.integers(0, 255), max_size=12), stops=stop_lists)
def test_any_bytes_come_out_as_they_decode(ids: list[int], stops: list[str]) -> None:
    pieces, growing = grown(ByteTokenizer(), ids, stops)
    assert "".join(pieces) == first_to_end(ByteTokenizer().decode(ids), stops)
    assert growing.tokens_shown <= len(ids)
    assert growing.stopped or growing.tokens_shown == len(ids)


def test_the_prompt_is_no_part_of_a_stop_and_may_end_within_a_character() -> None:
    text = GrowingText(LETTERS, LETTERS.encode("ab"), ["bc"])
    assert (text.prompt, text.push(LETTERS.stoi["c"]), text.stopped) == ("ab", "c", False)
    text = GrowingText(ByteTokenizer(), [0x61, 0xC3], ["b"])
    assert (text.prompt, text.push(0xA9), text.tokens_shown) == ("a", "é", 1)


class Cut:
    """In the place of a tokenizer whose tokens are of any length: an id is an index of `pieces`."""

    def __init__(self, pieces: list[str]) -> None:
        self.push, self.finish = pieces.__getitem__, str

    def stream(self) -> "Cut":
        return self


@given(pieces=st.lists(st.text("ab", max_size=6), max_size=8), stops=st.lists(st.text("ab", min_size=1), max_size=4))
@example(pieces=["abc"], stops=["abc", "b"])
def test_where_tokens_cut_the_text_changes_nothing(pieces: list[str], stops: list[str]) -> None:
    growing = GrowingText(Cut(pieces), [], stops)  # type: ignore[arg-type]
    shown = "".join([*map(growing.push, range(len(pieces))), growing.finish()])
    assert shown == first_to_end("".join(pieces), stops)
    ends = list(accumulate(map(len, pieces)))
    assert growing.tokens_shown == sum(end <= len(shown) for end in ends) or "" in pieces
