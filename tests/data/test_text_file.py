"""Passes over a text: what one counts, where the splits part, and what an encoding that is not UTF-8 is called."""

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptmodel.data import text_file
from gptmodel.data.encoded import encoded
from gptmodel.data.text_file import Text, cut, splits, survey
from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Unit
from gptmodel.tokenizers.char import CharTokenizer

WORDS = "Counsel asks what the river stones whisper where no river is.\n" * 20
CYRILLIC = "Пушкин спрашивает, что шепчут камни «реки».\n" * 20
MARK = b"\xef\xbb\xbf"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input.txt"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pieces(content: bytes, length: int) -> Iterator[bytes]:
    return (content[start : start + length] for start in range(0, len(content), length))


@given(st.text(max_size=30), st.integers(0, 31), st.integers(1, 7))
@example("\x7f¿\x80\u07ff\uffff\U0010ffff!", 3, 1)  # the last bytes and the first of each length
def test_a_text_is_cut_after_so_many_characters_wherever_the_chunks_end(text: str, units: int, length: int) -> None:
    content = text.encode("utf-8", "replace")
    first, others = cut(pieces(content, length), units, "character")
    assert b"".join(first).decode() == content.decode()[:units]
    assert b"".join(others).decode() == content.decode()[units:]


@given(st.binary(max_size=30), st.integers(0, 31), st.integers(1, 7))
def test_a_file_is_cut_after_so_many_bytes(content: bytes, units: int, length: int) -> None:
    first, others = cut(pieces(content, length), units, "byte")
    assert b"".join(first) == content[:units]
    assert b"".join(others) == content[units:]


def test_the_second_part_can_be_read_alone() -> None:
    _, others = cut(pieces("éa漢b🙂c".encode(), 2), 3, "character")
    assert b"".join(others).decode() == "b🙂c"


@pytest.mark.parametrize("unit", ["character", "byte"])
def test_a_survey_counts_characters_for_every_tokenizer(path: Path, unit: Unit) -> None:
    content = MARK + "é漢🙂abc".encode()
    path.write_bytes(content)
    text = survey(path, unit)
    assert text == Text(path, "character", 3, len(content), 6, digest(content), "abcé漢🙂")
    assert b"".join(text.chunks()) == content[3:]
    with splits(text, 2) as (train, val):
        assert [b"".join(train).decode(), b"".join(val).decode()] == ["é漢", "🙂abc"]


def test_a_survey_for_bytes_counts_them_where_a_file_is_not_utf8(path: Path) -> None:
    content = MARK + "é漢".encode() + b"\xff"
    path.write_bytes(content)
    text = survey(path, "byte")
    assert text == Text(
        path, "byte", 0, len(content), 9, digest(content), "".join(sorted(set(content.decode("latin-1"))))
    )
    with splits(text, 4) as (train, val):
        assert [b"".join(train), b"".join(val)] == [content[:4], content[4:]]


def test_the_index_of_a_bad_byte_counts_the_byte_order_mark(path: Path) -> None:
    path.write_bytes(MARK + b"ab\xff")
    with pytest.raises(DataError, match="not UTF-8 at byte 5 "):
        survey(path, "character")


def test_who_leaves_a_pass_before_its_end_leaves_no_thread(path: Path) -> None:
    """Not even as long as the error, and with it all that was under way, is kept."""
    path.write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="not UTF-8") as kept:
        survey(path, "character")
    text = survey(path, "byte")

    def leave() -> None:
        with splits(text, 1) as (train, _):
            next(train)
            raise KeyError

    with pytest.raises(KeyError) as other:
        leave()
    path.write_text("abc")
    with pytest.raises(DataError, match="'c'") as third:
        encoded(path, CharTokenizer("ab"))
    assert None not in (kept.tb, other.tb, third.tb)
    assert not [thread.name for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


def fault(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        survey(path, "character")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


ENCODED = {  # how a text is encoded -> what is said of it, and what iconv calls it
    "utf-16": ("not UTF-8 at byte 0 (counted from 0); its byte order mark says UTF-16", "UTF-16"),
    "utf-32": ("not UTF-8 at byte 0 (counted from 0); its byte order mark says UTF-32", "UTF-32"),
    "utf-16-le": ("is UTF-16LE, since every second byte is NUL", "UTF-16LE"),
    "utf-16-be": ("is UTF-16BE, since every second byte is NUL", "UTF-16BE"),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_another_unicode_encoding_is_named_with_the_command_that_converts_it(path: Path, encoding: str) -> None:
    said, name = ENCODED[encoding]
    message = fault(path, WORDS.encode(encoding))
    assert said in message
    assert f"`iconv -f {name} -t UTF-8 {path} > " in message
    assert "byte tokenizer" not in message
    assert "prepare.tokenizer" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xfe\xff" + WORDS.encode("utf-16-be"), "its byte order mark says UTF-16"),
        (CYRILLIC.encode("utf-16-le"), "it is probably UTF-16LE"),
        (CYRILLIC.encode("utf-16-be"), "it is probably UTF-16BE"),
        ("“Counsel” asks — in earnest".encode("cp1252"), "probably Windows-1252 or Latin-1"),
        ("Zwölf Boxkämpfer".encode("latin-1"), "probably Windows-1252 or Latin-1"),
        (b"hello \xff" + b"x" * 99, "at byte 6 (counted from 0); it is probably Windows-1252 or Latin-1"),
        ("naïve — ".encode() + b"caf\xe9 ", "the text before that is UTF-8, so the file is damaged there"),
        (bytes(range(256)) * 9, "it does not look like text"),
    ],
)
def test_what_is_not_utf8_is_called_what_it_probably_is(path: Path, content: bytes, said: str) -> None:
    message = fault(path, content)
    assert f"{path}: not UTF-8 at byte " in message
    assert said in message
    assert ("prepare.tokenizer to byte" in message) == ("not look like text" in said)


def test_the_file_to_convert_is_the_one_that_fetch_took_the_text_from(tmp_path: Path) -> None:
    source, text = tmp_path / "my text.txt", tmp_path / "project" / "data" / "input.txt"
    text.parent.mkdir(parents=True)
    content = "Zwölf Boxkämpfer".encode("latin-1")
    source.write_bytes(content)
    text.with_name("fetch.source").symlink_to("../../my text.txt")
    command = fault(text, content).split("`")[1]
    assert command.startswith(f"iconv -f WINDOWS-1252 -t UTF-8 '{source}' > ")
    text.with_name("fetch.source").unlink()
    assert f"-t UTF-8 {text} > " in fault(text, content)


LANGUAGES = {  # encoding -> what iconv calls it, and a text
    "cp1251": ("WINDOWS-1251", "Все счастливые семьи похожи друг на друга.\n"),
    "koi8_r": ("KOI8-R", "Все счастливые семьи похожи друг на друга.\n"),
    "cp866": ("CP866", "Все счастливые семьи похожи друг на друга.\n"),
    "cp1250": ("WINDOWS-1250", "Zażółć gęślą jaźń. Książę przyszedł później niż wszyscy.\n"),
    "cp1253": ("WINDOWS-1253", "Η γρήγορη καφέ αλεπού πηδά πάνω από το τεμπέλικο σκυλί.\n"),
    "shift_jis": ("SHIFT_JIS", "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n"),
    "euc_jp": ("EUC-JP", "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n"),
    "gb18030": ("GB18030", "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。\n"),
    "big5": ("BIG5", "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。\n"),
    "euc_kr": ("CP949", "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n"),
}


@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
@pytest.mark.parametrize("encoding", LANGUAGES)
@pytest.mark.parametrize("lines", [5, 2000])
def test_the_encoding_of_a_language_is_named_and_the_command_converts_it(path: Path, encoding: str, lines: int) -> None:
    """Where a text is longer than what is looked at, too: that ends with a whole line."""
    name, line = LANGUAGES[encoding]
    message = fault(path, (line * lines).encode(encoding))
    assert f"it is probably {name}; convert it with `iconv -f {name} -t UTF-8 {path} > " in message
    subprocess.run(message.split("`")[1], shell=True, check=True)
    assert path.read_text(encoding="utf-8") == line * lines


@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "cp1252"])
def test_the_command_converts_the_text(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "a folder; with signs"
    folder.mkdir()
    text = "é“Counsel”\r\n" * 9 if encoding == "cp1252" else WORDS
    message = fault(folder / "in put.txt", text.encode(encoding))
    subprocess.run(message.split("`")[1], shell=True, check=True)
    assert (folder / "in put.txt").read_bytes() == text.encode()
    assert survey(folder / "in put.txt", "character").units == len(text)
    assert [path.name for path in folder.iterdir()] == ["in put.txt"]


@pytest.mark.parametrize(
    "content", [b"a\x00b\x00\x00c" * 9, b"abc\x00" * 99, b"\x00" * 50 + b"ab", b"a\nb\nc\x00", "é\x00".encode() * 9]
)
def test_a_text_with_nuls_is_a_text(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert survey(path, "character").units == len(content.decode())


@pytest.mark.parametrize("encoding", [*ENCODED, "cp1252"])
def test_bytes_are_taken_as_they_are(path: Path, encoding: str) -> None:
    content = "é and more".encode(encoding)
    path.write_bytes(content)
    assert survey(path, "byte").units == len(content)


@pytest.mark.parametrize(("read_bytes", "chunk_bytes"), [(4, 3), (5, 1), (7, 7), (1 << 22, 1 << 18)])
def test_a_file_is_read_whole_however_much_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int, chunk_bytes: int
) -> None:
    monkeypatch.setattr(text_file, "READ_BYTES", read_bytes)
    monkeypatch.setattr(text_file, "CHUNK_BYTES", chunk_bytes)
    content = MARK + "é漢🙂 and more".encode()
    path.write_bytes(content)
    text = survey(path, "character")
    assert text == Text(path, "character", 3, len(content), 12, digest(content), "".join(sorted(set("é漢🙂 and more"))))
    chunks = list(text.chunks())
    assert b"".join(chunks) == content[3:]
    assert 0 < max(map(len, chunks)) <= chunk_bytes


def test_a_pass_that_nobody_ends_leaves_no_thread(path: Path) -> None:
    path.write_bytes(b"hello world")
    before = threading.active_count()
    chunks = survey(path, "byte").chunks()
    assert next(chunks) == b"hello world"
    assert threading.active_count() == before + 1
    del chunks
    assert threading.active_count() == before


@pytest.mark.parametrize("read", ["nothing", "the train split", "all"])
def test_a_pass_notices_a_change_however_much_of_the_text_it_needs(path: Path, read: str) -> None:
    path.write_bytes(b"hello world")
    text = survey(path, "byte")
    take: dict[str, Callable[[Any, Any], object]] = {
        "nothing": lambda train, val: None,  # noqa: ARG005
        "the train split": lambda train, val: list(train),  # noqa: ARG005
        "all": lambda train, val: (list(train), list(val)),
    }
    with splits(text, 5) as parts:
        take[read](*parts)
    path.write_bytes(b"hello worlD")
    with pytest.raises(DataError, match=r"changed while it was being read.*gptmodel prepare"), splits(text, 5) as parts:
        take[read](*parts)


def encode_with_a_fault(text: Text) -> None:
    with splits(text, 5) as (train, _):
        next(train)
        raise DataError("another fault")


def test_an_error_is_the_texts_only_if_the_text_was_changed(path: Path) -> None:
    path.write_bytes(b"hello world")
    text = survey(path, "byte")
    with pytest.raises(DataError, match="another fault"):
        encode_with_a_fault(text)
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match="changed while"):
        encode_with_a_fault(text)
