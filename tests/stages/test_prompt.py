"""Prompts as people have them: bytes, line ends of another system, a byte order mark, escapes that no shell took."""

from pathlib import Path

import pytest
from model_helpers import sample_params

from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer
from stages.prompt import prompt_text, read_prompt

UNIX = CharTokenizer("ROMEO:\n\t ab")
WINDOWS = CharTokenizer("ROMEO:\r\n ab")
MARK = b"\xef\xbb\xbf"


def ids_of_file(path: Path, content: bytes, tokenizer: Tokenizer) -> list[int]:
    """The ids that a prompt file becomes."""
    path.write_bytes(content)
    text = prompt_text(read_prompt(None, None, path), path, tokenizer, sample_params())
    assert text is not None
    return tokenizer.encode(text)


@pytest.mark.parametrize("content", [b"To\xff", bytes(range(256)), MARK + b"a\r\n", b"\xc3", b"\xed\xb2\x80"])
def test_a_model_of_bytes_takes_a_file_byte_for_byte(tmp_path: Path, content: bytes) -> None:
    assert ids_of_file(tmp_path / "p", content, ByteTokenizer()) == list(content)


@pytest.mark.parametrize(
    ("content", "tokenizer", "text"),
    [
        (b"ROMEO:\r\n", UNIX, "ROMEO:\n"),
        (b"ROMEO:\r\n", WINDOWS, "ROMEO:\r\n"),
        (MARK + b"ROMEO:\n", UNIX, "ROMEO:\n"),
        (MARK + b"a\r\nb\r\n", UNIX, "a\nb\n"),
        (b"a\nb", WINDOWS, "a\nb"),
    ],
)
def test_line_ends_and_a_byte_order_mark_are_taken_as_in_the_text(
    tmp_path: Path, content: bytes, tokenizer: Tokenizer, text: str
) -> None:
    assert ids_of_file(tmp_path / "p", content, tokenizer) == tokenizer.encode(text)


def test_a_model_of_characters_names_the_byte_that_is_no_utf_8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p: not UTF-8 at byte 5$"):
        ids_of_file(tmp_path / "p", MARK + b"ab\xff", UNIX)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [(r"ROMEO:\n", ["'n'", "a line end", r"$'...\n'", "--prompt-file"]), (r"a\tb", ["'t'", "a tab", r"$'...\t'"])],
)
@pytest.mark.parametrize("from_params", [False, True])
def test_an_escape_that_no_shell_took_is_told_as_what_was_meant(
    prompt: str, words: list[str], from_params: bool
) -> None:
    given = read_prompt(prompt, None, None) if from_params else read_prompt("b", prompt, None)
    with pytest.raises(DataError) as raised:
        prompt_text(given, None, UNIX, sample_params())
    assert all(word in str(raised.value) for word in words)


def test_a_backslash_that_the_model_knows_or_is_to_replace_is_one() -> None:
    knowing = CharTokenizer(r"ab\n")
    assert prompt_text(r"a\n", None, knowing, sample_params()) == r"a\n"
    assert prompt_text(r"a\n", None, UNIX, sample_params(on_unknown="replace")) == r"a\n"
    assert prompt_text(r"a\n", None, ByteTokenizer(), sample_params()) == r"a\n"
    assert prompt_text(None, None, UNIX, sample_params()) is None


def test_an_unknown_character_of_a_prompt_may_be_replaced() -> None:
    with pytest.raises(DataError, match=r"'€' .*; leave it out, or set sample\.on_unknown to replace$"):
        prompt_text("a€", None, UNIX, sample_params())
    assert prompt_text("a€", None, UNIX, sample_params(on_unknown="replace")) == "a€"
