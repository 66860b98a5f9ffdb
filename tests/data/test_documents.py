"""A text from many files: their order, what stands between them, what is left out, and what is refused by name."""

import bz2
import gzip
import hashlib
import lzma
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from gptmodel.data import documents, local_files
from gptmodel.data.documents import Document, Reading
from gptmodel.data.local_files import local_source
from gptmodel.errors import DataError
from gptmodel.project.layout import Layout, local_path

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}
LONG = random.Random(0).randbytes(40_000).hex().encode()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    return folder


def put(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def zipped(path: Path, entries: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def reading(texts: Path, setting: str = "texts", separator: str = "|", most: int = 1_000_000) -> Reading:
    where = local_path(setting)
    assert where is not None
    return Reading(local_source(setting, where, Layout(texts.parent)), separator, most)


def read(texts: Path, setting: str = "texts", **options: Any) -> bytes:
    return b"".join(reading(texts, setting, **options))


def fault(texts: Path, setting: str = "texts", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(texts, setting, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_come_sorted_by_name_with_a_separator_between_them(texts: Path) -> None:
    put(texts, b_txt=b"second", a__z_txt=b"first", Z_txt=b"capitals before", c_txt=b"last")
    documents = reading(texts)
    assert b"".join(documents) == b"capitals before|first|second|last"
    assert [document.name for document in documents.documents] == ["Z.txt", "a/z.txt", "b.txt", "c.txt"]
    assert documents.documents[1] == Document("a/z.txt", 5, hashlib.sha256(b"first").hexdigest())
    assert documents.notes() == []
    assert read(texts, "texts/", separator="") == b"capitals beforefirstsecondlast"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("texts/*.txt", ["a.txt", "b.txt"]),
        ("texts/**/*.txt", ["a.txt", "b.txt", "sub/c.txt"]),
        ("texts/[ab].*", ["a.md", "a.txt", "b.txt"]),
        ("texts/s*/?.txt", ["sub/c.txt"]),
    ],
)
def test_a_pattern_names_files_below_the_folder_before_its_first_wildcard(
    texts: Path, pattern: str, names: list[str]
) -> None:
    put(texts, a_txt=b"a", b_txt=b"b", a_md=b"m", sub__c_txt=b"c")
    (texts / ".hidden.txt").write_bytes(b"no")
    source = local_source(pattern, Path(pattern), Layout(texts.parent))
    assert list(source.names) == names
    assert (source.path, source.where, source.shown) == (texts, Path("texts"), "texts")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(texts: Path) -> None:
    (texts / "a[1].txt").write_bytes(b"one")
    assert local_source("texts/a[1].txt", Path("texts/a[1].txt"), Layout(texts.parent)).is_plain


def test_what_is_hidden_or_empty_is_left_out_and_named(texts: Path) -> None:
    put(texts, a_txt=b"a", b_txt=b"", c_txt=b"c")
    put(texts / ".git", config=b"no")
    (texts / ".DS_Store").write_bytes(b"\0")
    zipped(texts / "d.zip", {"__MACOSX/._x": b"\0", "x.txt": b"x", ".y": b"\0"})
    found = reading(texts)
    assert b"".join(found) == b"a|c|x"
    assert found.notes() == [
        "texts: left out as hidden: .DS_Store, .git, d.zip/.y and 1 more",
        "texts: left out as empty: b.txt",
    ]


def test_names_that_differ_in_case_only_are_named(texts: Path) -> None:
    put(texts, a_txt=b"a", A_txt=b"A", b_txt=b"b")
    found = reading(texts)
    assert b"".join(found) == b"A|a|b"
    (line,) = found.notes()
    assert line.startswith("texts: A.txt and a.txt differ in case only; a disk that ignores case holds one of them")


@pytest.mark.parametrize("chunk_bytes", [3, 1 << 20])
def test_a_byte_order_mark_is_left_out_of_each_document(
    texts: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr("gptmodel.data.unpack.CHUNK_BYTES", chunk_bytes)
    mark = b"\xef\xbb\xbf"
    put(texts, a_txt=mark + "é漢🙂".encode(), b_txt=mark + b"b" + mark, c_txt=mark)
    found = reading(texts)
    assert b"".join(found).decode() == "é漢🙂|b\ufeff"
    assert [document.bytes for document in found.documents] == [9, 4]
    assert found.empty == ["c.txt"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_is_unpacked_alone_and_among_others(texts: Path, suffix: str) -> None:
    (texts / f"b.txt.{suffix}").write_bytes(PACKERS[suffix](LONG))
    assert read(texts, f"texts/b.txt.{suffix}") == LONG
    put(texts, a_txt=b"a")
    found = reading(texts)
    assert b"".join(found) == b"a|" + LONG
    assert found.documents[1] == Document(f"b.txt.{suffix}", len(LONG), hashlib.sha256(LONG).hexdigest())


@pytest.mark.parametrize("suffix", PACKERS)
def test_parts_that_were_packed_one_after_the_other_are_one_file(texts: Path, suffix: str) -> None:
    (texts / f"a.{suffix}").write_bytes(PACKERS[suffix](b"one, ") + PACKERS[suffix](b"two"))
    assert read(texts) == b"one, two"


def test_each_file_of_a_zip_is_a_document(texts: Path) -> None:
    zipped(texts / "a.zip", {"b.txt": b"b", "a/a.txt": LONG, "empty/": b""}, compression=zipfile.ZIP_DEFLATED)
    found = reading(texts, "texts/a.zip")
    assert b"".join(found) == LONG + b"|b"
    assert [document.name for document in found.documents] == ["a.zip/a/a.txt", "a.zip/b.txt"]


@pytest.mark.parametrize("suffix", [*PACKERS, "zip"])
@pytest.mark.parametrize("injury", ["cut", "no such format", "a byte changed", "nothing"])
def test_a_damaged_file_is_named(texts: Path, suffix: str, injury: str) -> None:
    path = texts / f"b.{suffix}"
    if suffix == "zip":
        zipped(path, {"x.txt": LONG}, compression=zipfile.ZIP_DEFLATED)
    else:
        path.write_bytes(PACKERS[suffix](LONG))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    injuries = {"cut": content[: len(content) // 3], "no such format": b"text" * 99, "nothing": b""}
    path.write_bytes(injuries.get(injury, content))
    if (suffix, injury) == ("gz", "nothing"):  # gzip takes that for a file without a member
        assert fault(texts) == "texts: is empty; let fetch.source name a text"
    elif (suffix, injury) == ("zst", "a byte changed"):  # its frames here have no checksum
        assert read(texts) != LONG or fault(texts)
    else:
        line = fault(texts)
        assert line.startswith(f"texts/b.{suffix}")
        assert ": cannot be unpacked: " in line
        assert line.endswith(
            "damaged, incomplete or no such file as its name says: get it again, or unpack it yourself"
        )


def test_a_zip_of_which_a_name_is_no_utf8_is_damaged(texts: Path) -> None:
    zipped(texts / "a.zip", {"é.txt": b"text"})
    (texts / "a.zip").write_bytes((texts / "a.zip").read_bytes().replace("é".encode(), b"\xff\xff"))
    assert fault(texts).startswith("texts/a.zip: cannot be unpacked: ")


def test_the_texts_of_a_zip_that_is_hidden_itself_are_read(texts: Path) -> None:
    zipped(texts / ".t.zip", {"a.txt": b"a", ".b.txt": b"b", "__MACOSX/c.txt": b"c", "__pycache__/d.pyc": b"d"})
    for setting in ("texts/.t.zip", "texts/.*"):
        found = reading(texts, setting)
        assert b"".join(found) == b"a"
        assert found.hidden == [".t.zip/.b.txt", ".t.zip/__MACOSX/c.txt", ".t.zip/__pycache__/d.pyc"]


def test_an_encrypted_zip_is_refused(texts: Path) -> None:
    zipped(texts / "a.zip", {"x.txt": b"text"})
    content = bytearray((texts / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (texts / "a.zip").write_bytes(content)
    assert fault(texts) == "texts/a.zip: is encrypted; unpack it, and name what comes out"


@pytest.mark.parametrize("suffix", [*PACKERS, "zip"])
def test_what_is_unpacked_has_a_limit_over_all_files(texts: Path, suffix: str) -> None:
    """A small file can hold a large one: nobody's disk is to be filled by it."""
    for name in ("a", "b"):
        if suffix == "zip":
            zipped(texts / f"{name}.zip", {"x.txt": b"0" * 600_000}, compression=zipfile.ZIP_DEFLATED)
        else:
            (texts / f"{name}.{suffix}").write_bytes(PACKERS[suffix](b"0" * 600_000))
    assert len(read(texts, most=1_200_000)) == 1_200_001
    assert fault(texts).startswith(f"texts/b.{suffix}")
    assert "more comes out of it than fetch.max_gb allows" in fault(texts)


def binary(texts: Path) -> str:
    put(texts, logo_png=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    return "texts/logo.png: not UTF-8 at byte 0 (counted from 0); it does not look like text, since it holds NUL bytes"


def nul(texts: Path) -> str:
    put(texts, x_bin=b"abc\0" * 9)
    return "texts/x.bin: does not look like text, since it holds NUL bytes; take it away, or name the texts by a"


def latin(texts: Path) -> str:
    (texts / "old one.txt").write_bytes("Zwölf Boxkämpfer".encode("latin-1"))
    quoted = f"'{texts}/old one.txt'"
    return (
        "texts/old one.txt: not UTF-8 at byte 2 (counted from 0); it is probably Windows-1252 or Latin-1; convert it "
        f"with `iconv -f WINDOWS-1252 -t UTF-8 {quoted} > "
    )


def wide(texts: Path) -> str:
    put(texts, w_txt="plain words".encode("utf-16-le"))
    return "texts/w.txt: is UTF-16LE, since every second byte is NUL; convert it with `iconv -f UTF-16LE -t UTF-8 "


def packed_latin(texts: Path) -> str:
    (texts / "a.txt.gz").write_bytes(gzip.compress("Zwölf Boxkämpfer".encode("latin-1")))
    return "texts/a.txt.gz: not UTF-8 at byte 2 (counted from 0); it is probably Windows-1252 or Latin-1; unpack it"


def cut_off(texts: Path) -> str:
    put(texts, c_txt="naïve 🙂".encode()[:-1])
    return "texts/c.txt: not UTF-8 at byte 7 (counted from 0); the text before that is UTF-8, so the file is damaged"


def link_out(texts: Path) -> str:
    (texts.parent / "secret").write_bytes(b"key")
    (texts / "l.txt").symlink_to("../secret")
    return "texts/l.txt: is a link that leads out of the folder; put the text itself there, or take it away"


def link_to_folder(texts: Path) -> str:
    put(texts, sub__a_txt=b"a")
    (texts / "loop").symlink_to(".")
    return "texts/loop: is a link that leads to a folder"


def link_to_nothing(texts: Path) -> str:
    (texts / "l.txt").symlink_to("gone.txt")
    return "texts/l.txt: is a link that leads nowhere"


def pipe(texts: Path) -> str:
    os.mkfifo(texts / "p.txt")
    return "texts/p.txt: is a pipe, a device or a socket; take it out of the folder"


def name_of_bytes(texts: Path) -> str:
    (texts / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"a")
    return "texts: the name of the file 'caf\\udce9.txt' is not UTF-8; rename it"


def all_empty(texts: Path) -> str:
    put(texts, a_txt=b"", b_txt=b"")
    return "texts: is empty; let fetch.source name a text"


def no_files(texts: Path) -> str:
    (texts / "sub").mkdir()
    return "texts: holds no file; put the texts there, or let fetch.source name another folder"


REFUSED = (
    *(binary, nul, latin, wide, packed_latin, cut_off),
    *(link_out, link_to_folder, link_to_nothing, pipe, name_of_bytes, all_empty, no_files),
)


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_is_no_text_is_refused_by_name(texts: Path, make: Callable[[Path], str]) -> None:
    if make not in (all_empty, no_files):
        put(texts, z_txt=b"a text beside it")
    line = make(texts)
    assert fault(texts).startswith(line)


@pytest.mark.parametrize("setting", ["texts/*/*.txt", "texts/**/*.txt", "texts/link*/sub/*"])
def test_a_pattern_does_not_go_through_a_linked_folder(texts: Path, setting: str) -> None:
    """DVC would not see a change of what is behind it."""
    put(texts.parent / "out", a_txt=b"a", sub__b_txt=b"b")
    put(texts, one__a_txt=b"a")
    (texts / "link").symlink_to("../out")
    line = "texts/link: is a link that leads to a folder; put the text itself there, or take it away"
    assert fault(texts, setting) == line
    assert read(texts, "texts/link/*.txt") == b"a"  # the folder that is watched may be one


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["b.txt", "sub"])
def test_what_may_not_be_read_is_named(texts: Path, name: str) -> None:
    put(texts, a_txt=b"a", b_txt=b"b", sub__c_txt=b"c")
    (texts / name).chmod(0)
    try:
        assert name in fault(texts)
    finally:
        (texts / name).chmod(0o755)


@pytest.mark.parametrize("setting", ["texts/*.md", "texts/n*e/a.txt", "no*where/*"])
def test_a_pattern_without_a_match_is_said(texts: Path, setting: str) -> None:
    put(texts, a_txt=b"a", name__sub__a_txt=b"a")
    assert fault(texts, setting).startswith(f"{setting}: matches no file")


@pytest.mark.parametrize("setting", [".", "data", "*.txt", "**/*.txt", "~/project"])
def test_a_folder_that_fetch_writes_into_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    project = tmp_path / "project"
    put(project, a_txt=b"a", data__input_txt=b"b")
    line = fault(project / "texts", setting)
    assert line == (
        f"{setting}: data/input.txt, which fetch writes, is below the same folder; "
        "put the texts into a folder of their own, such as texts/"
    )


def test_a_folder_that_dvc_would_look_through_for_very_long_is_refused(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "MOST_FILES", 3)
    put(texts, a_txt=b"a", b_md=b"b", sub__c_md=b"c")
    assert read(texts, "texts/*.txt") == b"a"
    put(texts, sub__d_md=b"d")
    for setting in ("texts", "texts/*.txt"):
        assert "texts: holds more than 3 files, all of which DVC would look at for changes" in fault(texts, setting)


def test_a_list_of_names_is_cut() -> None:
    assert documents._some(["a"]) == "a"
    assert documents._some([str(number) for number in range(1004)]) == "0, 1, 2 and 1,001 more"


def test_who_converts_a_folder_is_told_of_all_files_that_need_it(texts: Path) -> None:
    """One of them at a time would be a run for each file of an old folder."""
    old = "Zażółć gęślą jaźń. ".encode("cp1250") * 50
    put(texts, a_txt=b"plain", c_txt="zażółć".encode(), e_txt=b"", **dict.fromkeys(("b_txt", "d_txt", "f_txt"), old))
    put(texts, g_txt=old, h_txt=old)
    (texts / "i.txt").symlink_to("a.txt")
    zipped(texts / "j.zip", {"x.txt": old})
    first = fault(texts)
    assert first.startswith("texts/b.txt: not UTF-8 at byte 2 (counted from 0); it is probably W")
    assert first.endswith("b.txt`; not UTF-8 either: d.txt, f.txt, g.txt and 1 more")
    for name in "bdfg":
        put(texts, **{f"{name}_txt": b"converted"})
    assert fault(texts).startswith("texts/h.txt: not UTF-8 at byte 2")
    assert "either" not in fault(texts)
