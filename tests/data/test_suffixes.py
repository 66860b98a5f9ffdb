"""The longest match at each place of a text, against the slow way to find it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptmodel.data.suffixes import BYTES_AT_ONCE, PLACES_AT_ONCE, Suffixes


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


@settings(max_examples=300, deadline=None)
@given(few_letters | st.binary(max_size=60), few_letters | st.binary(max_size=60))
def test_the_longest_matches_are_those_of_a_slow_search(text: bytes, query: bytes) -> None:
    assert Suffixes(text).longest_matches(query).tolist() == slowly(text, query)


def test_a_real_text_and_long_matches() -> None:
    random = np.random.default_rng(0)
    text = bytes(random.choice([97, 98, 99, 255, 0], 5000, p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.uint8))
    query = text[1000:1300] + text[:50] + b"z" + text[-70:] + text[4000 : 4000 + 3 * BYTES_AT_ONCE]
    lengths = Suffixes(text).longest_matches(query)
    assert lengths.tolist() == slowly(text, query)
    assert lengths[0] >= 300
    assert lengths[350] == 0


@pytest.mark.parametrize("text", [b"", b"a", b"aaaa"])
def test_a_text_of_one_letter_and_an_empty_one(text: bytes) -> None:
    assert Suffixes(text).longest_matches(b"aab").tolist() == slowly(text, b"aab")


def test_more_places_than_are_looked_up_at_once() -> None:
    query = b"ab" * (PLACES_AT_ONCE // 2) + b"abcab"
    lengths = Suffixes(b"ababc").longest_matches(query)
    assert len(lengths) == len(query)
    assert lengths[:3].tolist() == [4, 3, 4]
    assert lengths[-5:].tolist() == [3, 2, 1, 2, 1]


def test_a_text_is_found_whole_in_itself() -> None:
    text = bytes(range(256)) * 3
    assert Suffixes(text).longest_matches(text).tolist() == list(range(len(text), 0, -1))
