"""Reads the format safetensors: named tensors as plain numbers, whoever wrote the file.

Eight bytes say how long the header is; the header is a JSON object with the dtype, the shape and the place of each
tensor; all bytes behind it are those of the tensors. No size is believed before the file was seen to hold that much.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptmodel.errors import CheckpointError
from gptmodel.files import check_ends

HEADER_BYTES = 16 << 20
"""A header above this is not read; that of the largest GPT-2 has 60 kB."""
ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Numbers that float32 holds exactly."""
METADATA = "__metadata__"


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    stop: int


class SafetensorsFile:
    """The tensors of a file by their names, each read when it is asked for. CheckpointError for anything irregular."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            check_ends(path)
            with path.open("rb") as stream:
                self._entries = _entries(_header(stream.read(8), stream.read(HEADER_BYTES)), path.stat().st_size)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"{path}: no safetensors file, or damaged ({reason}); get it anew") from None

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def read(self, name: str) -> Tensor:
        """Return a tensor as float32; CheckpointError for whole numbers, for float64 and for what is not finite."""
        entry = self._entries[name]
        if entry.dtype not in DTYPES:
            expected = ", ".join(DTYPES)
            raise CheckpointError(f"{self.path}: {name} has the dtype {entry.dtype}; only {expected} can be imported")
        with self.path.open("rb") as stream:
            stream.seek(entry.start)
            content = bytearray(stream.read(entry.stop - entry.start))
        if len(content) != entry.stop - entry.start:
            raise CheckpointError(f"{self.path}: became shorter while it was read; run the same command again")
        dtype = DTYPES[entry.dtype]
        numbers = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        if not bool(numbers.isfinite().all()):
            raise CheckpointError(f"{self.path}: {name} has numbers that are not finite; get the file anew")
        return numbers.view(entry.shape).float()


def _header(length: bytes, content: bytes) -> tuple[int, dict[str, Any]]:
    """Return where the header ends and what it says; ValueError if it is none."""
    if len(length) < 8:
        raise ValueError("it is empty or too short")
    (size,) = struct.unpack("<Q", length)
    if size > len(content):
        raise ValueError(f"its header claims {size} bytes")
    header = json.loads(content[:size].decode(), object_pairs_hook=_without_twins)
    if type(header) is not dict:
        raise ValueError("its header is no JSON object")
    return 8 + size, header


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("its header has a name twice")
    return value


def _entries(header: tuple[int, dict[str, Any]], size: int) -> dict[str, _Entry]:
    """Return the checked entries: each byte behind the header belongs to one tensor."""
    behind, values = header
    entries = {name: _entry(name, value, behind) for name, value in values.items() if name != METADATA}
    end = behind
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != end:
            raise ValueError("its tensors overlap, or leave a gap")
        end = entry.stop
    if end != size:
        raise ValueError(f"its tensors need {end} bytes, and it has {size}")
    return entries


def _entry(name: str, value: Any, behind: int) -> _Entry:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop], **others} if not others:
            whole = all(type(number) is int and 0 <= number < 1 << 48 for number in (*shape, start, stop))
            if whole and len(shape) <= 8 and stop - start == math.prod(shape) * ITEM_BYTES.get(dtype, -1):
                return _Entry(dtype, tuple(shape), behind + start, behind + stop)
    raise ValueError(f"its entry {name[:60]!r} makes no sense")
