import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.errors import DataError
from gptmodel.tokenizers.char import CharTokenizer

TEXTS = ["hello, world", "naïve — Пушкин 漢字 🙂🏽", "a\r\nb\rc\nd\u2028", "𝄞", "\x00\x7f\x80\U0010ffff", "\ufeffbom"]
utf8_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_stoi_and_itos_as_in_the_tutorial() -> None:
    tokenizer = CharTokenizer("hello\n")
    assert tokenizer.stoi == {"\n": 0, "e": 1, "h": 2, "l": 3, "o": 4}
    assert tokenizer.itos == {0: "\n", 1: "e", 2: "h", 3: "l", 4: "o"}
    assert tokenizer.encode("hole") == [2, 4, 3, 1]
    assert tokenizer.decode([2, 4, 3, 1]) == "hole"
    assert tokenizer.vocab_size == 5


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_the_text_back(text: str) -> None:
    tokenizer = CharTokenizer(text)
    ids = tokenizer.encode(text)
    assert ids == [tokenizer.stoi[char] for char in text]
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


@given(utf8_text, st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_of_known_characters_comes_back(text: str, more: str) -> None:
    tokenizer = CharTokenizer(text + more)
    for part in (text, more, text + more):
        array = tokenizer.encode_array(part)
        assert array.ndim == 1
        assert array.dtype.kind == "u"
        assert array.tolist() == [tokenizer.stoi[char] for char in part]
        assert tokenizer.decode(array) == part


def test_every_text_is_encoded_when_all_ascii_characters_are_known() -> None:
    text = "".join(map(chr, range(300)))
    tokenizer = CharTokenizer(text)
    assert tokenizer.encode(text) == list(range(300))
    assert tokenizer.encode(text[:128]) == list(range(128))


@pytest.mark.parametrize(
    ("alphabet", "text", "position", "named"),
    [
        ("abc ", "abc abcX", 7, "'X' (U+0058)"),
        ("abc ", "ab\ncX", 2, r"'\n' (U+000A)"),
        ("abc ", "ab🙂X", 2, "'🙂' (U+1F642)"),
        ("abcé", "é\udc80", 1, r"'\udc80' (U+DC80)"),
        ("aé", "aéb", 2, "'b' (U+0062)"),
        ("aé", "\U0010ffff", 0, r"'\U0010ffff' (U+10FFFF)"),
    ],
)
def test_an_unknown_character_is_named_with_its_position(alphabet: str, text: str, position: int, named: str) -> None:
    tokenizer = CharTokenizer(alphabet)
    with pytest.raises(DataError) as caught:
        tokenizer.encode(text)
    assert f"character {position} " in str(caught.value)
    assert named in str(caught.value)
    assert str(caught.value).endswith("; leave it out")
    assert "\n" not in str(caught.value)
    assert all(char.isprintable() for char in str(caught.value))


def test_an_unknown_character_is_replaced_by_a_space_or_the_first_character() -> None:
    assert CharTokenizer("abc ").decode(CharTokenizer("abc ").encode("aX🙂b", "replace")) == "a  b"
    assert CharTokenizer("abc").decode(CharTokenizer("abc").encode("cXb", "replace")) == "cab"


@pytest.mark.parametrize("ids", [[0, 3], [-1], [2**70], [0, -(2**70)]])
def test_an_id_out_of_range_is_refused(ids: list[int]) -> None:
    with pytest.raises(DataError, match="out of range"):
        CharTokenizer("abc").decode(ids)


def test_fitting_collects_the_characters_of_both_splits() -> None:
    tokenizer = CharTokenizer.fit([b"ba\xc3", b"\xa9", b""], ["🙂b".encode()], None)
    assert tokenizer.characters == "abé🙂"


def test_fitting_and_encoding_name_the_first_byte_that_is_not_utf8() -> None:
    with pytest.raises(DataError, match="not UTF-8 at byte 5 "):
        CharTokenizer.fit([b"ab"], [b"abc\xff"], None)
    with pytest.raises(DataError, match="not UTF-8 at byte 3 "):
        list(CharTokenizer("ab").encode_stream([b"ab", b"a\xc3"]))


def test_encoding_a_stream_names_an_unknown_character_by_its_place_in_the_text() -> None:
    with pytest.raises(DataError, match=r"character 6 .*'X' \(U\+0058\)"):
        list(CharTokenizer("abé").encode_stream(["éab".encode(), b"abaX", b"a"]))


def test_byte_lengths_are_those_of_utf8() -> None:
    lengths = CharTokenizer("aé漢🙂").byte_lengths()
    assert lengths.tolist() == [1, 2, 3, 4]
    assert lengths.dtype == np.int64


def test_no_characters_and_half_characters_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        CharTokenizer("")
    with pytest.raises(DataError, match="U\\+D800"):
        CharTokenizer("a\ud800")


@given(utf8_text)
def test_a_stream_gives_what_decode_gives(text: str) -> None:
    tokenizer = CharTokenizer(text)
    stream = tokenizer.stream()
    ids = tokenizer.encode(text)
    assert "".join(map(stream.push, ids)) + stream.finish() == text
