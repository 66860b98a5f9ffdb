import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.errors import DataError
from gptmodel.tokenizers.byte import ByteTokenizer


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.encode_array(text).tolist() == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.binary())
def test_a_stream_gives_what_decode_gives_for_any_bytes(content: bytes) -> None:
    tokenizer = ByteTokenizer()
    stream = tokenizer.stream()
    pushed = "".join(stream.push(byte) for byte in content) + stream.finish()
    assert pushed == tokenizer.decode(list(content)) == content.decode(errors="replace")


def test_a_stream_holds_a_split_character_back() -> None:
    stream = ByteTokenizer().stream()
    assert [stream.push(byte) for byte in "a🙂".encode()] == ["a", "", "", "", "🙂"]
    assert stream.push(0xC3) == ""
    assert stream.finish() == "\ufffd"


def test_half_characters() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("a\udcff") == [97, 255]  # a byte of a command line that is not UTF-8
    with pytest.raises(DataError, match="character 1 "):
        tokenizer.encode("a\ud800")
    assert tokenizer.encode("a\ud800", "replace") == [97, 63]


@pytest.mark.parametrize("ids", [[256], [-1], [2**70]])
def test_an_id_out_of_range_is_refused(ids: list[int]) -> None:
    with pytest.raises(DataError, match="out of range"):
        ByteTokenizer().decode(ids)
    with pytest.raises(DataError, match="out of range"):
        ByteTokenizer().stream().push(ids[0])


def test_every_token_is_a_byte() -> None:
    assert ByteTokenizer().vocab_size == 256
    assert ByteTokenizer().byte_lengths().tolist() == [1] * 256
