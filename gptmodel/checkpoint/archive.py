"""Reads what `torch.save` wrote: tensors and plain values, and nothing else, whoever wrote the file.

`torch.load(weights_only=True)` runs no code, but a crafted file still ends the interpreter (a tuple nested a million
deep as a key of a dict) or takes all memory (`bytearray(10**11)`, compressed entries). Here the file is read by the few
instructions that plain tensors need, and no size is believed before the file was seen to hold that much.
"""

import math
import pickletools
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

ENTRY = re.compile(
    r"([^/]+)/(data\.pkl|data/[0-9]{1,9}|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
PICKLE_BYTES = 16 << 20
"""Names, shapes and texts above this are not read; a tokenizer of every character there is has 5 MB."""
INSTRUCTIONS = 2_000_000
TUPLE_DEPTH = 3
DTYPES = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "LongStorage": torch.int64}
GLOBALS = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict", *(f"torch {name}" for name in DTYPES)}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
BAD_FILE = (zipfile.BadZipFile, struct.error, RuntimeError, ValueError, EOFError, OSError, LookupError, OverflowError)


class ArchiveError(Exception):
    """A file is not what `torch.save` makes of tensors and plain values; says why, without the file's name."""


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass
class _Storage:
    numbers: Tensor  # 1-D
    unused: int  # of the numbers: tensors do not share any


_MARK = _Global("mark")


def load_archive(stream: IO[bytes]) -> Any:
    """Return what was saved, its tensors on the CPU; ArchiveError for anything out of the ordinary."""
    try:
        with zipfile.ZipFile(stream) as archive:
            return _Machine(archive, _checked_entries(archive, stream.seek(0, 2))).run()
    except BAD_FILE as error:
        raise ArchiveError(str(error) or type(error).__name__) from None


def _checked_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by their name below the archive's folder."""
    entries, folders, total = {}, set(), 0
    for entry in archive.infolist():
        match = ENTRY.fullmatch(entry.filename)
        if match is None:
            raise ArchiveError(f"it holds {entry.filename[:40]!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise ArchiveError(f"{entry.filename[:40]} is compressed or encrypted")
        if match[2] in entries:
            raise ArchiveError(f"it holds {entry.filename[:40]} twice")
        entries[match[2]] = entry
        folders.add(match[1])
        total += entry.file_size
    if len(folders) != 1 or total > size or "data.pkl" not in entries:
        raise ArchiveError("its entries do not fit together")
    if entries["data.pkl"].file_size > PICKLE_BYTES:
        raise ArchiveError(f"its names and texts have more than {PICKLE_BYTES} bytes")
    return entries


class _Machine:
    """Follows the instructions of data.pkl: those that dicts, lists, tuples, scalars, texts and tensors need."""

    def __init__(self, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
        self.archive = archive
        self.entries = entries
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def run(self) -> Any:
        if "byteorder" in self.entries and self._bytes("byteorder") != sys.byteorder.encode():
            raise ArchiveError("it was written on a machine with another byte order")
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._bytes("data.pkl"))):
            if count == INSTRUCTIONS:
                raise ArchiveError("it has too many parts")
            self._do(opcode.name, argument)
        value = self.stack.pop()
        if self.stack or isinstance(value, (_Global, _Storage)):
            raise ArchiveError("it does not end with one value")
        return value

    def _do(self, name: str, argument: Any) -> None:
        """Follow one instruction; ArchiveError or LookupError when it makes no sense here."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._recall(self.memo[argument])
        elif name not in ("PROTO", "STOP"):
            step = STEPS.get(name)
            if step is None:
                raise ArchiveError(f"it uses {name}, which tensors and plain values do not need")
            step(self, argument)

    def _recall(self, value: Any) -> None:
        if not isinstance(value, (str, tuple, _Global)):
            raise ArchiveError("it holds a part twice")
        self.stack.append(value)

    def _text(self, argument: str) -> None:
        argument.encode()  # half a character is a ValueError
        self.stack.append(argument)

    def _global(self, argument: str) -> None:
        if argument not in GLOBALS:
            raise ArchiveError(f"it names {argument[:80]!r}, which tensors and plain values do not need")
        self.stack.append(_Global(argument))

    def _marked(self) -> list[Any]:
        """Take what stands above the last mark, and the mark."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _tuple(self, values: list[Any]) -> None:
        value = tuple(values)
        if _depth(value) > TUPLE_DEPTH:
            raise ArchiveError("it is nested too deeply")
        self.stack.append(value)

    def _tuple_of(self, count: int) -> None:
        self._tuple([self.stack.pop() for _ in range(count)][::-1])

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ArchiveError("a key and its value are in no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise ArchiveError("a key is neither a text nor a number")
            target[key] = _plain_value(value)

    def _append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ArchiveError("an item is in no list")
        target.extend(map(_plain_value, items))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if function == _Global("collections OrderedDict") and arguments == ():
            self.stack.append({})
        elif function == _Global("torch._utils _rebuild_tensor_v2") and type(arguments) is tuple:
            self.stack.append(_tensor(arguments))
        else:
            raise ArchiveError("it calls something other than a tensor")

    def _storage(self) -> None:
        """Read the numbers of an entry of its own, once."""
        match self.stack.pop():
            case ("storage", _Global(name), str(key), str(), int(count)):
                dtype = DTYPES[name.removeprefix("torch ")]
            case _:
                raise ArchiveError("a tensor has no numbers")
        entry = self.entries[f"data/{key}"]
        if entry.file_size != count * dtype.itemsize:
            raise ArchiveError(f"a tensor claims {count} numbers in {entry.file_size} bytes")
        storage = self.storages.get(key)
        if storage is None:
            content = bytearray(self._bytes(f"data/{key}"))
            numbers = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            storage = self.storages[key] = _Storage(numbers, count)
        if storage.numbers.dtype != dtype:
            raise ArchiveError("it reads the same numbers as two types")
        self.stack.append(storage)

    def _bytes(self, name: str) -> bytes:
        return self.archive.read(self.entries[name])


STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "BINUNICODE": _Machine._text,
    "GLOBAL": _Machine._global,
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine._tuple(machine._marked()),
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "SETITEM": lambda machine, _: machine._set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine._set_items(machine._marked()),
    "APPEND": lambda machine, _: machine._append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine._append(machine._marked()),
    "REDUCE": lambda machine, _: machine._reduce(),
    "BINPERSID": lambda machine, _: machine._storage(),
}


def _depth(value: tuple[Any, ...]) -> int:
    return 1 + max((_depth(part) for part in value if isinstance(part, tuple)), default=0)


def _plain_value(value: Any) -> Any:
    """Return a value that may stand in a dict or a list."""
    if isinstance(value, (_Global, _Storage)):
        raise ArchiveError("it has a part of a tensor where a value belongs")
    return value


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """Return contiguous numbers of a storage in their shape."""
    storage, offset, size, stride, grad, hooks = arguments  # another number of them is a ValueError
    if not isinstance(storage, _Storage) or grad is not False or hooks != {} or not _counts((offset,)):
        raise ArchiveError("a tensor is not plain")
    if not _counts(size) or not _counts(stride) or len(size) != len(stride) or len(size) > 8:
        raise ArchiveError("a tensor has no shape")
    count = math.prod(size)
    if any(n > 1 and step != math.prod(size[i + 1 :]) for i, (n, step) in enumerate(zip(size, stride, strict=True))):
        raise ArchiveError("the numbers of a tensor are not contiguous")
    if offset + count > len(storage.numbers) or count > storage.unused:
        raise ArchiveError("a tensor claims more numbers than there are")
    storage.unused -= count
    return storage.numbers[offset : offset + count].view(size)


def _counts(values: Any) -> bool:
    return type(values) is tuple and all(type(n) is int and 0 <= n < 1 << 48 for n in values)
