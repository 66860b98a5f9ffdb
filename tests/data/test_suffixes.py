"""The longest match at each place of a text, against the slow way to find it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptmodel.data.suffixes import SHORT, Suffixes


def slowly(text: bytes, query: bytes) -> list[int]:
    """The same by looking for ever longer pieces."""
    lengths = []
    for place in range(len(query)):
        length = 0
        while place + length < len(query) and query[place : place + length + 1] in text:
            length += 1
        lengths.append(length)
    return lengths


few_letters = st.binary(max_size=60).map(lambda text: bytes(byte % 3 for byte in text))
repeated = st.builds(lambda text, times: text * times, few_letters, st.integers(1, 9))
texts = few_letters | repeated | st.binary(max_size=60)


@settings(max_examples=300)
@given(texts, texts)
def test_the_longest_matches_are_those_of_a_slow_search(text: bytes, query: bytes) -> None:
    assert list(Suffixes(text).longest_matches(query)) == slowly(text, query)


def test_a_real_text_and_long_matches() -> None:
    random = np.random.default_rng(0)
    text = bytes(random.choice([97, 98, 99, 255, 0], 5000, p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.uint8))
    query = text[1000:1300] + text[:50] + b"z" + text[-70:] + text[4000 : 4000 + 3 * SHORT]
    lengths = list(Suffixes(text).longest_matches(query))
    assert lengths == slowly(text, query)
    assert lengths[0] >= 300
    assert lengths[350] == 0


@pytest.mark.parametrize("text", [b"", b"a", b"aaaa"])
def test_a_text_of_one_letter_and_an_empty_one(text: bytes) -> None:
    assert list(Suffixes(text).longest_matches(b"aab")) == slowly(text, b"aab")


def test_a_text_is_found_whole_in_itself() -> None:
    text = bytes(range(256)) * 3
    assert list(Suffixes(text).longest_matches(text)) == list(range(len(text), 0, -1))


def test_a_long_copy_is_not_compared_again_for_each_of_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = np.random.default_rng(1).bytes(200_000)
    searches = []
    longest = Suffixes._longest
    monkeypatch.setattr(Suffixes, "_longest", lambda *args: searches.append(args) or longest(*args))
    for query in (text[1000:60_000], text[1000:30_000] + text[500:30_000]):
        assert max(Suffixes(text).longest_matches(query)) >= 29_000
    assert len(searches) < 10
