"""Builds files as an attacker would: any pickle in any zip, and every digest made right again."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from model_helpers import VOCAB, language_model, scramble, small_model

from gptmodel.checkpoint.model_file import _digest, save_model
from gptmodel.tokenizers.char import CharTokenizer
from gptmodel.training.snapshot import MAGIC

LETTERS = CharTokenizer("abcdefghij\n")
assert LETTERS.vocab_size == VOCAB


def model_bytes(folder: Path, **changes: Any) -> bytes:
    """A good model.pth."""
    path = folder / "good.pth"
    save_model(path, language_model(scramble(small_model(**changes)), tokenizer=LETTERS), {"train": {"seed": 7}})
    return path.read_bytes()


def saved(value: Any, **options: Any) -> bytes:
    """What torch.save makes of a value."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def forged(good: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A model.pth with changed content and the right digest."""
    content: dict[str, Any] = torch.load(io.BytesIO(good), weights_only=True)
    change(content)
    texts = {key: content[key] for key in ("config", "tokenizer", "provenance")}
    content["digest"] = _digest(content["weights"], texts)
    return saved(content)


def configured(good: bytes, **values: Any) -> bytes:
    """A model.pth whose config claims other values."""
    return forged(good, lambda c: c.update(config=json.dumps({**json.loads(c["config"]), **values})))


def entries_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(entries: dict[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def pickled(instructions: bytes, **data: bytes) -> bytes:
    """An archive whose data.pkl is these instructions; data such as `_0=bytes(4)` is its storage entries."""
    entries = {"archive/data.pkl": b"\x80\x02" + instructions, "archive/version": b"3\n"}
    return zipped({**entries, **{f"archive/data/{key[1:]}": value for key, value in data.items()}})


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def numbers(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + tuple_of(*arguments) + b"R"


def storage(count: int, key: str = "0", kind: str = "FloatStorage", location: str = "cpu") -> bytes:
    return tuple_of(text("storage"), named("torch", kind), text(key), text(location), number(count)) + b"Q"


def tensor(
    storage: bytes,
    size: bytes,
    stride: bytes,
    offset: int = 0,
    grad: bytes = b"\x89",
    hooks: bytes = b"ccollections\nOrderedDict\n)R",
) -> bytes:
    """The instructions of a tensor, which may lie about everything."""
    return called("torch._utils", "_rebuild_tensor_v2", storage, number(offset), size, stride, grad, hooks)


def snapshot_bytes(archive: bytes) -> bytes:
    """The archive as a snapshot file whose sha256 is right."""
    return MAGIC + hashlib.sha256(archive).hexdigest().encode() + b"\n" + archive
