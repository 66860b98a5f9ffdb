import errno
import os
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest

from gptmodel.data import tokens
from gptmodel.data.tokens import HEADER_BYTES, open_tokens, token_writer
from gptmodel.errors import DataError

DIGEST = "0123456789abcdef" * 4


def write(path: Path, ids: list[int], vocab_size: int = 65) -> None:
    with token_writer(path, vocab_size, DIGEST) as writer:
        writer.append(np.array(ids, dtype=np.int64))


@pytest.mark.parametrize(
    ("vocab_size", "itemsize"), [(2, 1), (256, 1), (257, 2), (65536, 2), (65537, 4), (0x110000, 4)]
)
def test_ids_come_back_in_the_smallest_type(tmp_path: Path, vocab_size: int, itemsize: int) -> None:
    path = tmp_path / "train.bin"
    ids = [0, 1, vocab_size - 1, 0]
    with token_writer(path, vocab_size, DIGEST) as writer:
        writer.append(np.array(ids[:1], dtype=np.uint8))
        writer.append(np.array(ids[1:], dtype=np.uint32)[::1])
        writer.append(np.array([], dtype=np.uint8))
    tokens = open_tokens(path)
    assert tokens.ids.tolist() == ids
    assert tokens.ids.dtype.itemsize == itemsize
    assert (tokens.vocab_size, tokens.tokenizer_digest, tokens.path) == (vocab_size, DIGEST, path)
    assert path.stat().st_size == 64 + 4 * itemsize
    assert path.read_bytes()[:8] == b"GPTTOKEN"
    with pytest.raises(ValueError, match="read-only"):
        tokens.ids[0] = 1


def test_a_file_of_no_ids_opens(tmp_path: Path) -> None:
    write(tmp_path / "empty.bin", [])
    assert open_tokens(tmp_path / "empty.bin").ids.tolist() == []


def test_every_flipped_header_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    write(path, [1, 2, 3])
    original = path.read_bytes()
    for index in range(HEADER_BYTES):
        for bit in range(8):
            damaged = bytearray(original)
            damaged[index] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=r"train\.bin: .*gptmodel prepare"):
                open_tokens(path)


def test_every_length_but_the_right_one_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    write(path, list(range(9)), 300)
    original = path.read_bytes()
    for content in (*(original[:length] for length in range(len(original))), original + b"\0", original * 2):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train\.bin"):
            open_tokens(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 2**64 - 1},  # must not be allocated
        {"count": 4},
        {"vocab_size": 0},
        {"vocab_size": 300},
        {"version": 2},
        {"itemsize": 2},
        {"itemsize": 3},
    ],
)
def test_a_header_that_lies_but_is_whole_is_refused(tmp_path: Path, fields: dict[str, int]) -> None:
    import struct
    import zlib

    values = {"version": 1, "itemsize": 1, "count": 3, "vocab_size": 65, **fields}
    header = struct.pack(
        "<8sIIQI32s",
        b"GPTTOKEN",
        values["version"],
        values["itemsize"],
        values["count"],
        values["vocab_size"],
        bytes(32),
    )
    path = tmp_path / "train.bin"
    path.write_bytes(header + struct.pack("<I", zlib.crc32(header)) + bytes(3))
    with pytest.raises(DataError, match=r"train\.bin"):
        open_tokens(path)


@pytest.mark.parametrize(("vocab_size", "itemsize"), [(65, 1), (255, 1), (300, 2), (70000, 4)])
def test_an_id_beyond_the_vocabulary_is_named(tmp_path: Path, vocab_size: int, itemsize: int) -> None:
    path = tmp_path / "val.bin"
    write(path, [0] * 10, vocab_size)
    content = bytearray(path.read_bytes())
    at = HEADER_BYTES + 7 * itemsize
    content[at : at + itemsize] = vocab_size.to_bytes(itemsize, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"val\.bin: id {vocab_size} at index 7 "):
        open_tokens(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dvc repro prepare"):
        open_tokens(tmp_path / "train.bin")
    with pytest.raises(DataError, match="cannot be read"):
        open_tokens(tmp_path)


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    write(path, [1, 2, 3])
    original = path.read_bytes()
    with pytest.raises(DataError), token_writer(path, 65, DIGEST) as writer:
        writer.append(np.array([4, 200], dtype=np.uint8))
    assert path.read_bytes() == original
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_an_error_of_the_disk_that_comes_beside_the_work_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The system tells it once, to whoever asks first; the last one asks for what the work left."""
    calls, fsync = iter(range(1, 99)), os.fsync

    def fails(descriptor: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    def write_slowly() -> None:
        with token_writer(tmp_path / "train.bin", 65, DIGEST) as writer:
            for _ in range(2):
                writer.append(np.arange(9, dtype=np.uint8))
                assert writer._sync is not None
                wait([writer._sync])

    monkeypatch.setattr(tokens, "SYNC_BYTES", 4)
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=r"train\.bin") as caught:
        write_slowly()
    assert caught.value.errno == errno.EIO
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [65, 256, -1])
def test_an_id_that_does_not_fit_is_not_written(tmp_path: Path, wrong: int) -> None:
    with pytest.raises(DataError, match="not below"):
        write(tmp_path / "train.bin", [0, wrong])
    assert not list(tmp_path.iterdir())
