import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptmodel.config import PrepareParams
from gptmodel.data import corpus
from gptmodel.data.corpus import PrepareReport, Tally, check_splits, collect_characters, prepare, read_text
from gptmodel.data.tokens import open_tokens
from gptmodel.errors import DataError
from gptmodel.tokenizers.base import load_tokenizer

KINDS = ["char", "byte"]


def params(tokenizer: Any = "char", train_fraction: float = 0.9) -> PrepareParams:
    return PrepareParams(tokenizer=tokenizer, train_fraction=train_fraction)


def prepared(tmp_path: Path, content: bytes, chosen: PrepareParams) -> tuple[PrepareReport, list[int], list[int]]:
    (tmp_path / "input.txt").write_bytes(content)
    report = prepare(tmp_path / "input.txt", tmp_path / "out", chosen)
    train, val = (open_tokens(tmp_path / "out" / f"{split}.bin") for split in ("train", "val"))
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    assert train.tokenizer_digest == val.tokenizer_digest == tokenizer.digest == report.tokenizer_digest
    assert train.vocab_size == val.vocab_size == tokenizer.vocab_size == report.vocab_size
    return report, train.ids.tolist(), val.ids.tolist()


def test_the_first_nine_tenths_train_and_the_rest_validates(tmp_path: Path) -> None:
    report, train, val = prepared(tmp_path, b"hello\nhole\nlo", params())
    assert train == [2, 1, 3, 3, 4, 0, 2, 4, 3, 1, 0]  # "\nehlo" -> 0 ... 4; int(0.9 * 13) = 11
    assert val == [3, 4]
    assert report == PrepareReport(
        tokenizer="char",
        tokenizer_digest=report.tokenizer_digest,
        vocab_size=5,
        characters=13,
        bytes=13,
        train_tokens=11,
        val_tokens=2,
        text_sha256=hashlib.sha256(b"hello\nhole\nlo").hexdigest(),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("chunk_bytes", "fraction"), [(1, 0.5), (2, 0.9), (3, 0.13), (5, 0.9), (1 << 18, 0.9)])
@pytest.mark.parametrize(
    "text",
    [
        "plain ascii text, " * 3,
        "naïve — Пушкин 漢字 🙂🏽 and ascii and 🙂" * 2,
        "\ufefffirst\r\nsecond\rthird\n\n\u2028\x85\x00\x1a end\r\n",
        "𝄞" * 20 + "𝄢" * 5,
        "".join(map(chr, range(300))),
    ],
)
def test_the_splits_decoded_are_the_text(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    chunk_bytes: int,
    fraction: float,
    text: str,
) -> None:
    monkeypatch.setattr(corpus, "CHUNK_BYTES", chunk_bytes)
    report, train, val = prepared(tmp_path, text.encode(), params(kind, fraction))
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    assert tokenizer.decode(train + val) == text
    count = len(text) if kind == "char" else len(text.encode())
    assert len(train) == report.train_tokens == int(fraction * count)
    assert len(val) == report.val_tokens == count - len(train)
    assert report.characters == (len(text) if kind == "char" else None)
    assert report.bytes == len(text.encode())
    assert report.text_sha256 == hashlib.sha256(text.encode()).hexdigest()
    if kind == "char":
        assert tokenizer.to_json()["characters"] == "".join(sorted(set(text)))


def test_the_byte_tokenizer_takes_any_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    _, train, val = prepared(tmp_path, content, params("byte"))
    assert bytes(train + val) == content


@given(st.binary(min_size=1, max_size=40), st.integers(1, 8))
def test_bytes_that_are_not_utf8_are_found_as_python_finds_them(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "input.txt"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "CHUNK_BYTES", chunk_bytes)
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            with pytest.raises(DataError, match=rf"input\.txt: not UTF-8 at byte {error.start} .*UTF-8"):
                list(read_text(path, Tally()))
        else:
            assert "".join(read_text(path, Tally())) == text
            assert collect_characters(path, Tally()) == "".join(sorted(set(text)))


@pytest.mark.parametrize("at", [(1 << 18) - 2, (1 << 18) - 1, 1 << 18, (1 << 19) - 1])
def test_a_bad_byte_at_the_edge_of_a_chunk_is_named(tmp_path: Path, at: int) -> None:
    content = bytearray(b"a" * (1 << 19))
    content[at - 3 : at] = "é".encode() + b"b"
    content[at] = 0xC3  # the first of two bytes, and the second does not follow
    path = tmp_path / "input.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"byte {at} "):
        prepare(path, tmp_path / "out", params())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "fraction", "message"),
    [
        (b"", 0.9, "is empty"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0.9, "single distinct"),
        (b"ab", 0.9, "needs 2"),
        (b"abcdefghijklm", 0.99, "12 to train and 1 to validate.*longer text"),
        (b"abcdefghijklm", 0.1, "1 to train and 12 to validate"),
    ],
)
def test_a_text_that_gives_no_splits_is_refused(
    tmp_path: Path, kind: str, content: bytes, fraction: float, message: str
) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"input\.txt: .*{message}"):
        prepare(path, tmp_path / "out", params(kind, fraction))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_text_and_a_folder_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="dvc repro fetch"):
        prepare(tmp_path / "input.txt", tmp_path / "out", params(kind))
    with pytest.raises(DataError, match="is a folder"):
        prepare(tmp_path, tmp_path / "out", params(kind))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("later", [b"hello world!?", b"hello", b"", b"dlrow olleh", b"hello \xff\xff\xff\xff\xff"])
def test_a_text_changed_between_the_passes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: bytes
) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(b"hello world")

    def collect_then_change(path: Path, tally: Tally) -> str:
        characters = collect_characters(path, tally)
        path.write_bytes(later)
        return characters

    monkeypatch.setattr(corpus, "collect_characters", collect_then_change)
    with pytest.raises(DataError, match=r"input\.txt: was changed"):
        prepare(path, tmp_path / "out", params("char", 0.5))
    assert not list((tmp_path / "out").glob("*"))


def test_bytes_added_while_the_text_is_read_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(b"hello world")
    monkeypatch.setattr(corpus, "_checked_size", lambda _: 10)
    with pytest.raises(DataError, match="was changed"):
        prepare(path, tmp_path / "out", params("byte", 0.5))
    assert not list((tmp_path / "out").glob("*"))


def test_a_fault_leaves_what_was_prepared_before(tmp_path: Path) -> None:
    prepared(tmp_path, b"hello world", params("char", 0.5))
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for content in (b"aaaa", b"abcd\xff", b"a"):
        (tmp_path / "input.txt").write_bytes(content)
        with pytest.raises(DataError):
            prepare(tmp_path / "input.txt", tmp_path / "out", params("char", 0.5))
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_equal_texts_give_equal_files(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        prepared(tmp_path / name, "héllo wörld".encode(), params("char", 0.5))
        contents.append([path.read_bytes() for path in sorted((tmp_path / name / "out").iterdir())])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3


def test_each_split_has_to_hold_a_block_and_its_targets() -> None:
    check_splits(33, 33, 32)
    with pytest.raises(DataError, match=r"train split has 32 tokens.*model\.block_size = 32 needs 33.*smaller"):
        check_splits(32, 33, 32)
    with pytest.raises(DataError, match="val split has 32 tokens"):
        check_splits(33, 32, 32)


MEASURE = """
import resource, sys
from pathlib import Path

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the process that started this one into ru_maxrss
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

from gptmodel.config import PrepareParams
from gptmodel.data.corpus import prepare
assert "torch" not in sys.modules
before = peak()
prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareParams(tokenizer=sys.argv[3], train_fraction=0.9))
print(peak() - before)
"""


def peak(tmp_path: Path, kind: str, megabytes: int, *, ascii_only: bool) -> int:
    """Return the resident bytes that preparing a text of this size adds to what the imports take."""
    letters = "abcdefghijklmnopqrstuvwxyz .,\nABCDEF" + ("" if ascii_only else "éж漢🙂")
    rng = np.random.default_rng(0)
    block = "".join(rng.choice(list(letters), 400_000)).encode()
    with (tmp_path / "input.txt").open("wb") as stream:
        for _ in range(megabytes * 1_000_000 // len(block)):
            stream.write(block)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "input.txt"), str(tmp_path / "out"), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    return int(done.stdout)


@pytest.mark.parametrize(("kind", "ascii_only"), [("char", True), ("char", False), ("byte", True)])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, kind: str, ascii_only: bool) -> None:
    assert peak(tmp_path, kind, 30, ascii_only=ascii_only) < 25_000_000  # less than the text


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ascii_only"), [("char", True), ("char", False), ("byte", True)])
def test_200_mb_of_text_are_prepared_in_little_memory(tmp_path: Path, kind: str, ascii_only: bool) -> None:
    assert peak(tmp_path, kind, 200, ascii_only=ascii_only) < 60_000_000
