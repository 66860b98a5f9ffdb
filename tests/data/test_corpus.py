import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizer_helpers import prepare_params as params

from gptmodel.data import corpus, text_file
from gptmodel.data.corpus import PrepareReport, check_splits, prepare
from gptmodel.data.prepared import load_prepared, load_test
from gptmodel.data.tokens import open_tokens
from gptmodel.data.unpack import OPENERS, ZIP
from gptmodel.errors import DataError
from gptmodel.prepare_params import PrepareParams
from gptmodel.tokenizers.base import Ids
from gptmodel.tokenizers.bpe import BpeTokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer
from gptmodel.tokenizers.kinds import KINDS, load_tokenizer

MIXED = ("Zwölf — Пушкин 漢字 🙂🏽 and ascii\n" * 9 + "\ufeff in the middle \x00\x7f\x85").encode()
GOLDEN = {  # first 16 digits of the SHA-256 of tokenizer.json, train.bin and val.bin
    (
        "char",
        b"The quick brown fox\njumps over the lazy dog.\r\n" * 7,
    ): "348d75f74eb0fc74 6b5d852c3505173b 791a8cf0acda3c1a",
    (
        "byte",
        b"The quick brown fox\njumps over the lazy dog.\r\n" * 7,
    ): "bf3bfcee6e24c41c 3b52dc851850fb98 7ffd315ae58f7549",
    ("char", MIXED): "c93a5940456c7915 5c451334099bdaac 7283271dd8bf12b0",
    ("byte", MIXED): "bf3bfcee6e24c41c 355b8b61abcbfa27 a6dfb0ff07eaf725",
    ("char", "".join(map(chr, range(32, 400))).encode() * 2): "d99be3df14993643 eb8970b8db6f9b97 7bfc848d80f9e02e",
    ("byte", bytes(range(256)) * 3): "bf3bfcee6e24c41c 7bb06449043823e9 adf82f13eea7cd38",
}


def prepared(
    tmp_path: Path, content: bytes, prepare_params: PrepareParams
) -> tuple[PrepareReport, list[int], list[int]]:
    (tmp_path / "input.txt").write_bytes(content)
    report = prepare(tmp_path / "input.txt", tmp_path / "out", prepare_params)
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
        mark_left_out=False,
    )


@pytest.mark.parametrize(("kind", "content"), GOLDEN)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 18])
def test_the_files_are_the_bytes_they_always_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, content: bytes, chunk_bytes: int
) -> None:
    """Other bytes are other data: every model trained before would no longer fit them."""
    monkeypatch.setattr(text_file, "CHUNK_BYTES", chunk_bytes)
    prepared(tmp_path, content, params(kind))
    files = (tmp_path / "out" / name for name in ("tokenizer.json", "train.bin", "val.bin"))
    assert " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files) == GOLDEN[kind, content]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 18])
def test_the_end_of_the_text_can_be_kept_for_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, chunk_bytes: int
) -> None:
    monkeypatch.setattr(text_file, "CHUNK_BYTES", chunk_bytes)
    content = "naïve — Пушкин 漢字 🙂 and ascii" * 4 + "é"
    report, train, val = prepared(tmp_path, content.encode(), params(kind, 0.7, test_fraction=0.2))
    data = load_prepared(tmp_path / "out")
    test = load_test(data).ids.tolist()
    assert data.tokenizer.decode([*train, *val, *test]) == content
    units = len(content) if data.tokenizer.unit == "character" else len(content.encode())
    sizes = [len(data.tokenizer.decode(ids)) for ids in (train, val, test)]
    if data.tokenizer.unit == "character":
        assert sizes == [int(0.7 * units), units - int(0.7 * units) - int(0.2 * units), int(0.2 * units)]
    assert report.test_tokens == len(test) == report.metrics()["test_tokens"]
    before = [train, val]
    _, *without = prepared(tmp_path, content.encode(), params(kind, 0.7))
    assert without[0] == before[0]
    assert without[1] == [*before[1], *test]
    with pytest.raises(DataError, match="there is no test split, as prepare"):
        load_test(load_prepared(tmp_path / "out"))


@pytest.mark.parametrize("val_source", [None, "val.txt"])
def test_a_share_for_the_test_that_comes_to_nothing_is_refused(tmp_path: Path, val_source: str | None) -> None:
    for name in ("input.txt", "val.txt"):
        (tmp_path / name).write_bytes(b"hello, world! " * 4)
    changed = params(train_fraction=0.5, test_fraction=0.01, val_source=val_source)
    with pytest.raises(DataError, match=r" and 0 to test, but each split needs 2; .* or prepare\.test_fraction$"):
        prepare(tmp_path / "input.txt", tmp_path / "out", changed, tmp_path)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("test_fraction", [0.0, 0.25])
def test_a_text_of_ones_own_validates_and_nothing_is_cut_off_for_it(
    tmp_path: Path, kind: str, test_fraction: float
) -> None:
    (tmp_path / "held out.txt").write_bytes("\ufeffzwölf\n".encode())
    changed = params(kind, val_source="held out.txt", test_fraction=test_fraction)
    (tmp_path / "input.txt").write_bytes(b"hello, world! " * 4)
    report = prepare(tmp_path / "input.txt", tmp_path / "out", changed, tmp_path)
    data = load_prepared(tmp_path / "out")
    train, test = "hello, world! " * (3 if test_fraction else 4), "hello, world! " if test_fraction else ""
    assert data.tokenizer.decode(data.train.ids) == train
    assert data.tokenizer.decode(data.val.ids).removeprefix("\ufeff") == "zwölf\n"
    assert (data.tokenizer.decode(load_test(data).ids) if test else "") == test
    assert report.val_text_sha256 == hashlib.sha256((tmp_path / "held out.txt").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize("ending", [*OPENERS, ZIP])
def test_a_packed_val_text_is_what_comes_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, ending: str
) -> None:
    monkeypatch.setattr(text_file, "READ_BYTES", 7)
    content = "\ufeffzwölf\n".encode() * 20
    (tmp_path / "input.txt").write_bytes(b"hello, world! " * 4)
    (tmp_path / "val.txt").write_bytes(content)
    write_packed(tmp_path / f"val.txt{ending}", content)
    made = []
    for name in ("val.txt", f"val.txt{ending}"):
        report = prepare(tmp_path / "input.txt", tmp_path / "out", params(kind, val_source=name), tmp_path)
        made.append((report, [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())]))
    assert made[0] == made[1]


def write_packed(path: Path, content: bytes) -> None:
    """Write a file of one text, packed as its name says."""
    if path.suffix == ZIP:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._val.txt", b"what a Mac puts there")
            archive.writestr("val.txt", content)
        return
    with OPENERS[path.suffix](path, "wb") as stream:
        stream.write(content)


@pytest.mark.parametrize("ending", [*OPENERS, ZIP])
def test_a_packed_text_whose_name_does_not_say_so_is_called_that(tmp_path: Path, ending: str) -> None:
    write_packed(tmp_path / f"some{ending}", bytes(range(256)) * 9)
    (tmp_path / f"some{ending}").rename(tmp_path / "val.txt")
    (tmp_path / "input.txt").write_bytes(b"hello, world! " * 4)
    with pytest.raises(DataError, match=rf"not UTF-8 at byte .*; it begins as a \{ending} file does; unpack it$"):
        prepare(tmp_path / "input.txt", tmp_path / "out", params(val_source="val.txt"), tmp_path)


def test_a_val_text_that_changes_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "val.txt").write_bytes(b"held out")
    (tmp_path / "input.txt").write_bytes(b"hello, world")
    fit = CharTokenizer.fit

    def slow(train: Iterable[bytes], val: Iterable[bytes], *more: Any) -> CharTokenizer:
        tokenizer = fit(train, val, *more)
        (tmp_path / "val.txt").write_bytes(b"held owt")
        return tokenizer

    monkeypatch.setattr(CharTokenizer, "fit", slow)
    with pytest.raises(DataError, match=r"val\.txt: changed while it was being read"):
        prepare(tmp_path / "input.txt", tmp_path / "out", params(val_source="val.txt"), tmp_path)
    assert not (tmp_path / "out" / "train.bin").exists()


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize(("chunk_bytes", "fraction"), [(1, 0.5), (2, 0.9), (3, 0.13), (5, 0.9), (1 << 18, 0.9)])
@pytest.mark.parametrize(
    "content",
    [
        "plain ascii text, " * 3,
        "naïve — Пушкин 漢字 🙂🏽 and ascii and 🙂" * 2,
        "first\ufeff\r\nsecond\rthird\n\n\u2028\x85\x00\x1a end\r\n" * 3,
        "𝄞 𝄢" * 25,
        "".join(map(chr, range(300))) + " and the end",
    ],
)
def test_the_splits_decoded_are_the_text(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    chunk_bytes: int,
    fraction: float,
    content: str,
) -> None:
    monkeypatch.setattr(text_file, "CHUNK_BYTES", chunk_bytes)
    report, train, val = prepared(tmp_path, content.encode(), params(kind, fraction))
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    assert tokenizer.decode(train + val) == content
    assert (len(train), len(val)) == (report.train_tokens, report.val_tokens)
    assert tokenizer.decode(train) == content[: int(fraction * len(content))]  # the same for every kind
    assert report.characters == len(content)
    assert report.bytes == len(content.encode())
    assert report.text_sha256 == hashlib.sha256(content.encode()).hexdigest()


class LongTokens(ByteTokenizer):
    """Bytes, but one token for "the ": how many tokens a text has shows when it is encoded."""

    unit = "character"

    def encode_stream(self, chunks: Iterable[bytes]) -> Iterator[Ids]:
        yield np.frombuffer(b"".join(chunks).replace(b"the ", b"\xff"), dtype=np.uint8)


def test_the_text_is_cut_and_not_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token never goes across the cut, and all tokenizers of characters validate on the same text."""
    monkeypatch.setitem(KINDS, "byte", LongTokens)
    content = b"one and the other, the more the merrier, the end"
    report, train, val = prepared(tmp_path, content, params("byte", 0.45))
    cut = int(0.45 * len(content))
    assert content[cut - 2 : cut + 2] == b"the "
    assert bytes(train).replace(b"\xff", b"the ") == content[:cut]
    assert bytes(val).replace(b"\xff", b"the ") == content[cut:]
    assert (report.train_tokens, report.val_tokens) == (len(train), len(val)) == (18, 21)
    assert report.characters == len(content)


@pytest.mark.parametrize("chunk_bytes", [1, 2, 1 << 18])
def test_a_byte_order_mark_is_no_character_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(text_file, "CHUNK_BYTES", chunk_bytes)
    plain = prepared(tmp_path, "héllo wörld\ufeff!".encode(), params("char", 0.5))
    files = [(tmp_path / "out" / name).read_bytes() for name in ("tokenizer.json", "train.bin", "val.bin")]
    content = "\ufeffhéllo wörld\ufeff!".encode()
    report, train, val = prepared(tmp_path, content, params("char", 0.5))
    assert (train, val) == plain[1:]
    assert files == [(tmp_path / "out" / name).read_bytes() for name in ("tokenizer.json", "train.bin", "val.bin")]
    assert (report.mark_left_out, report.characters, report.bytes) == (True, 13, len(content))
    assert report.text_sha256 == hashlib.sha256(content).hexdigest()
    assert not plain[0].mark_left_out


def test_the_byte_tokenizer_takes_any_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    report, train, val = prepared(tmp_path, content, params("byte"))
    assert bytes(train + val) == content
    assert len(train) == int(0.9 * len(content))
    assert report.characters is None


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
        (b"a", 0.9, "only one distinct"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0.9, "only one distinct"),
        (b"ab", 0.9, "2 tokens leave 1 to train and 1 to validate.*each split needs 2"),
        (b"abcdefghijklm", 0.99, r"tokens leave \d+ to train and 1 to validate.*longer text"),
        (b"abcdefghijklm", 0.1, r"tokens leave 1 to train and \d+ to validate"),
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


@pytest.mark.parametrize(
    ("content", "message"), [("", "is empty"), ("a" * 40, "only one distinct"), ("abc", "3 tokens")]
)
def test_a_byte_order_mark_does_not_make_a_text_longer(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "input.txt").write_text("\ufeff" + content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"input\.txt: .*{message}"):
        prepare(tmp_path / "input.txt", tmp_path / "out", params())


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_what_is_missing_is_told_in_numbers(tmp_path: Path, kind: str) -> None:
    (tmp_path / "input.txt").write_bytes(b"abcdefghijklm")
    with pytest.raises(DataError, match="13 tokens leave 12 to train and 1 to validate, but each split needs 2"):
        prepare(tmp_path / "input.txt", tmp_path / "out", params(kind, 0.99))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_text_and_a_folder_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="dvc repro fetch"):
        prepare(tmp_path / "input.txt", tmp_path / "out", params(kind))
    with pytest.raises(DataError, match="is a folder"):
        prepare(tmp_path, tmp_path / "out", params(kind))
    assert not (tmp_path / "out").exists()


LATER = [b"hello world!?", b"hello", b"", b"dlrow olleh", b"hello \xff\xff\xff\xff\xff"]


def then(function: Callable[..., Any], change: Callable[[], object]) -> Callable[..., Any]:
    """The function, and a change of the text after it."""

    def wrapper(*arguments: Any) -> Any:
        result = function(*arguments)
        change()
        return result

    return wrapper


@pytest.mark.parametrize("kind", [CharTokenizer, ByteTokenizer, BpeTokenizer])
@pytest.mark.parametrize("when", ["before it is fitted", "before it is encoded"])
@pytest.mark.parametrize("later", LATER)
def test_a_text_changed_between_the_passes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, when: str, later: bytes
) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(b"hello world")
    if when == "before it is fitted":
        monkeypatch.setattr(corpus, "survey", then(corpus.survey, lambda: path.write_bytes(later)))
    else:
        monkeypatch.setattr(kind, "fit", then(kind.fit, lambda: path.write_bytes(later)))
    with pytest.raises(DataError, match=r"input\.txt: changed while"):
        prepare(path, tmp_path / "out", params(kind.kind, 0.5))
    assert not list((tmp_path / "out").glob("*"))


def test_a_tokenizer_learnt_while_the_text_was_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passes before and after see the same bytes: what was learnt in between shows nowhere else."""
    path = tmp_path / "input.txt"
    path.write_bytes(b"hello world")
    fit = BpeTokenizer.fit
    monkeypatch.setattr(corpus, "survey", then(corpus.survey, lambda: path.write_bytes(b"hello world, too")))
    monkeypatch.setattr(BpeTokenizer, "fit", then(fit, lambda: path.write_bytes(b"hello world")))
    with pytest.raises(DataError, match=r"input\.txt: changed while"):
        prepare(path, tmp_path / "out", params("bpe", 0.5))
    assert not (tmp_path / "out").exists()


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

from gptmodel.prepare_params import PrepareParams
from gptmodel.data.corpus import prepare
assert "torch" not in sys.modules
size = 1000 if sys.argv[3] == "bpe" else None
if size:
    import rustbpe, tiktoken
before = peak()
settings = PrepareParams.defaults() | {"tokenizer": sys.argv[3], "vocab_size": size}
prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareParams.model_validate(settings))
print(peak() - before)
"""


def peak(tmp_path: Path, kind: str, megabytes: int, block: bytes) -> int:
    """Return the resident bytes that preparing a text of this size adds to what the imports take."""
    with (tmp_path / "input.txt").open("wb") as stream:
        for _ in range(megabytes * 1_000_000 // len(block)):
            stream.write(block)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "input.txt"), str(tmp_path / "out"), kind]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    return int(result.stdout)


def letters(*, ascii_only: bool) -> bytes:
    """Return letters in any order, with few blanks: nearly every word is another one."""
    alphabet = "abcdefghijklmnopqrstuvwxyz .,\nABCDEF" + ("" if ascii_only else "éж漢🙂")
    return "".join(np.random.default_rng(0).choice(list(alphabet), 400_000)).encode()


def words() -> bytes:
    """Return as much of few different words, which are learnt from quickly."""
    rng = np.random.default_rng(0)
    few = ["".join(rng.choice(list("abcdefghij"), 5)) for _ in range(400)]
    return " ".join(rng.choice(few, 400_000 // 6)).encode() + b"\n"


@pytest.mark.parametrize(("kind", "ascii_only"), [("char", True), ("char", False), ("byte", True)])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, kind: str, ascii_only: bool) -> None:
    assert peak(tmp_path, kind, 30, letters(ascii_only=ascii_only)) < 25_000_000  # less than the text


@pytest.mark.thorough
def test_memory_of_bpe_does_not_grow_with_a_text_of_few_words(tmp_path: Path) -> None:
    assert peak(tmp_path, "bpe", 24, words()) < 20_000_000  # less than the text


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ascii_only"), [("char", True), ("char", False), ("byte", True)])
def test_200_mb_of_text_are_prepared_in_little_memory(tmp_path: Path, kind: str, ascii_only: bool) -> None:
    assert peak(tmp_path, kind, 200, letters(ascii_only=ascii_only)) < 60_000_000


@pytest.mark.slow
def test_memory_of_bpe_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """A few windows of the text, and its different words: 30 MB for texts of 6 MB and of 18 MB."""
    assert peak(tmp_path, "bpe", 60, letters(ascii_only=False)) < 45_000_000
