"""The collection of malicious model files: name -> (bytes, what the refusal says).

A digest in a file is always right: only checks of structure stand between the file and the damage.
"""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from forge import (
    called,
    configured,
    entries_of,
    forged,
    model_bytes,
    named,
    number,
    numbers,
    pickled,
    saved,
    storage,
    tensor,
    text,
    tuple_of,
    zipped,
)

DAMAGED = "not a model file, or damaged"
FOREIGN = "not a model file of this version"
WRONG = "train the model again"
File = tuple[bytes, str]


def collection(folder: Path, canary: Path) -> dict[str, File]:
    good = model_bytes(folder)
    return {**_code(canary), **_pickles(), **_tensors(), **_zips(good), **_contents(good, folder)}


def _code(canary: Path) -> dict[str, File]:
    """Whatever could be called; a run of any of these would leave the canary."""
    touch, python = text(f"touch '{canary}'"), text(f"open({str(canary)!r}, 'w')")
    calls = {
        "os.system": called("os", "system", touch),
        "posix.system": called("posix", "system", touch),
        "subprocess.getoutput": called("subprocess", "getoutput", touch),
        "subprocess.Popen": called("subprocess", "Popen", b"(" + text("touch") + text(str(canary)) + b"l"),
        "builtins.eval": called("builtins", "eval", python),
        "builtins.exec": called("builtins", "exec", python),
        "__builtin__.eval": called("__builtin__", "eval", python),
        "builtins.open": called("builtins", "open", text(str(canary)), text("w")),
        "builtins.getattr": called("builtins", "getattr", named("os", "path"), text("os")),
        "builtins.bytearray of 2 GB": called("builtins", "bytearray", number(2_000_000_000)),
        "__builtin__.bytearray of 2 GB": called("__builtin__", "bytearray", number(2_000_000_000)),
        "builtins.set": called("builtins", "set", b"]"),
        "collections.Counter": called("collections", "Counter", text("aab")),
        "collections.OrderedDict of items": called("collections", "OrderedDict", b"]"),
        "_codecs.encode": called("_codecs", "encode", text("a" * 99), text("latin1")),
        "torch.load": called("torch", "load", text(str(canary))),
        "torch.serialization.load": called("torch.serialization", "load", text(str(canary))),
        "torch.hub": called("torch.hub", "load_state_dict_from_url", text("http://127.0.0.1:9/x")),
        "torch.jit": called("torch.jit", "load", text(str(canary))),
        "torch.save": called("torch", "save", text("x"), text(str(canary))),
        "torch.from_file": called("torch", "from_file", text(str(canary)), b"\x88", number(99)),
        "torch.Tensor": called("torch", "Tensor", numbers(2**40)),
        "torch.device": called("torch", "device", text("meta")),
        "torch.Size": called("torch", "Size", numbers(3)),
        "torch.nn.Linear": called("torch.nn.modules.linear", "Linear", number(60_000), number(60_000)),
        "numpy reconstruct": called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray")),
        "runpy": called("runpy", "_run_code", python, b"}"),
        "a name with dots": called("os", "path.join", text("a")),
        "a name that is not ASCII": "cös\nsystem\n)R".encode(),
        "a name of a megabyte": called("os", "x" * (1 << 20)),
    }
    calls |= {f"torch._utils.{name}": called("torch._utils", name, b"}", b"}") for name in REBUILDS}
    files = {name: (pickled(instructions + b"."), DAMAGED) for name, instructions in calls.items()}
    files |= {
        f"{name} in the weights": (pickled(b"}" + text("weights") + calls[name] + b"s."), DAMAGED)
        for name in ("os.system", "builtins.eval")
    }
    other_ways = {
        "instruction INST": b"(" + touch + b"ios\nsystem\n.",
        "instruction OBJ": b"(" + named("os", "system") + touch + b"o.",
        "instruction NEWOBJ": named("os", "system") + tuple_of(touch) + b"\x81.",
        "instruction NEWOBJ_EX": named("os", "system") + tuple_of(touch) + b"}\x92.",
        "instruction STACK_GLOBAL": text("os") + text("system") + b"\x93" + tuple_of(touch) + b"R.",
        "instruction BUILD": b"}" + b"}" + text("__class__") + touch + b"sb.",
        "instruction EXT1": b"\x82\x01)R.",
        "instruction EXT4": b"\x84\xff\xff\xff\x7f)R.",
        "instruction PERSID": b"Pos\n.",
        "instruction DUP": b"}2.",
        "instruction POP": b"}}0.",
        "instruction STRING": b"S'os.system'\n.",
        "instruction UNICODE": b"Vos.system\n.",
        "instruction INT": b"I" + b"9" * 9000 + b"\n.",
        "instruction FRAME": b"\x95" + struct.pack("<Q", 2**60) + b"N.",
        "instruction NEXT_BUFFER": b"\x97.",
        "instruction MEMOIZE": b"}\x94.",
        "an instruction that is none": b"}\xf0.",
        "a call of a text": text("os.system") + tuple_of(touch) + b"R.",
        "a call of a number": number(5) + b")R.",
        "a call without arguments": named("torch._utils", "_rebuild_tensor_v2") + b"}R.",
        "a call of a storage": named("torch", "FloatStorage") + numbers(10**9) + b"R.",
        "a bare name": named("torch", "FloatStorage") + b".",
        "a name in a list": b"]" + named("torch", "FloatStorage") + b"a.",
        "a name as a key": b"}" + named("torch", "FloatStorage") + b"Ns.",
    }
    return files | {name: (pickled(instructions), DAMAGED) for name, instructions in other_ways.items()}


REBUILDS = (
    "_rebuild_tensor",
    "_rebuild_tensor_v3",
    "_rebuild_parameter",
    "_rebuild_parameter_with_state",
    "_rebuild_sparse_tensor",
    "_rebuild_sparse_csr_tensor",
    "_rebuild_nested_tensor",
    "_rebuild_qtensor",
    "_rebuild_meta_tensor_no_storage",
    "_rebuild_wrapper_subclass",
    "_rebuild_device_tensor_from_numpy",
    "_rebuild_device_tensor_from_cpu_tensor",
)


def _pickles() -> dict[str, File]:
    """Shapes that cost an interpreter its stack, its memory or its time."""
    doubled = b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    instructions = {
        "a key of tuples three million deep": b"}" + b")" + b"\x85" * 3_000_000 + b"Ns.",
        "tuples three million deep": b")" + b"\x85" * 3_000_000 + b".",
        "a key that is a tuple": b"})Ns.",
        "a key of two to the sixty tuples": b"}" + doubled + b"Ns.",
        "two to the sixty tuples": doubled + b".",
        "a key that is a list": b"}]Ns.",
        "a key that is None": b"}NNs.",
        "a key that is a float": b"}G" + bytes(8) + b"Ns.",
        "a memo that was never put": b"h\x07.",
        "three million marks": b"(" * 3_000_000 + b".",
        "a text of 4 GB": b"X\xff\xff\xff\xffabc",
        "a text of 2^63 bytes": b"\x8d" + struct.pack("<Q", 2**63 - 1) + b"abc.",
        "bytes of 2^62": b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        "bytearray of 2^62": b"\x96" + struct.pack("<Q", 2**62) + b"abc.",
        "a number of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.",
        "a number of negative length": b"\x8b" + struct.pack("<i", -5) + b"abc.",
        "half a character": text("\ud800") + b".",
        "bytes that are no text": b"X\x02\x00\x00\x00\xff\xfe.",
        "a list that holds itself": b"]q\x00h\x00a.",
        "a dict that holds itself": b"}q\x00" + text("a") + b"h\x00s.",
        "nothing": b"",
        "only an end": b".",
        "no end": b"}",
        "two values": b"}}.",
        "a mark": b"(.",
        "items without a dict": b"(KaKbu.",
        "items without a mark": b"}K\x01K\x02u.",
        "an odd number of items": b"}(K\x01u.",
        "items into a text": text("a") + b"(K\x01K\x02u.",
        "an item into a dict": b"}K\x01a.",
        "a tuple of what is not there": b"K\x01\x87.",
        "three million lists": b"]" * 3_000_000 + b".",
    }
    files = {f"pickle: {name}": (pickled(value), DAMAGED) for name, value in instructions.items()}
    harmless = {
        "a memo of four thousand million": b"}r\xff\xff\xff\xff.",
        "lists 200,000 deep": b"]" * 200_000 + b"a" * 199_999 + b".",
        "dicts 100,000 deep": b"}" + (text("a") + b"}") * 100_000 + b"s" * 100_000 + b".",
        "a number of 255 bytes": b"\x8a\xff" + b"\x7f" * 255 + b".",
    }
    return files | {f"pickle: {name}": (pickled(value), FOREIGN) for name, value in harmless.items()}


def _tensors() -> dict[str, File]:
    """Tensors that are more, less or something else than the numbers in the file."""
    source, one, three = storage(4), numbers(1), numbers(3)
    four = {"_0": bytes(16)}
    lies = {
        "size beyond the storage": tensor(source, numbers(5), one),
        "size of ten thousand million": tensor(source, numbers(10**10), one),
        "size of 2^62": tensor(source, numbers(2**62), one),
        "size whose product overflows": tensor(source, numbers(2**33, 2**33), numbers(2**33, 1)),
        "size of 0 and 2^47s": tensor(source, numbers(0, 2**47, 2**47), numbers(1, 1, 1)),
        "negative size": tensor(source, numbers(-1), one),
        "size that is a list": tensor(source, b"]K\x04a", one),
        "size of texts": tensor(source, tuple_of(text("4")), one),
        "size of truth values": tensor(source, tuple_of(b"\x88"), one),
        "nine dimensions": tensor(source, numbers(*[1] * 9), numbers(*[1] * 9)),
        "stride 0": tensor(source, three, numbers(0)),
        "negative stride": tensor(source, three, numbers(-1)),
        "stride 2": tensor(source, numbers(2), numbers(2)),
        "transposed": tensor(source, numbers(2, 2), numbers(1, 2)),
        "overlapping rows": tensor(source, numbers(2, 3), numbers(1, 1)),
        "more strides than sizes": tensor(source, three, numbers(1, 1)),
        "offset beyond the storage": tensor(source, one, one, offset=4),
        "offset of 2^62": tensor(source, one, one, offset=2**62),
        "negative offset": tensor(source, one, one, offset=-1),
        "wants a gradient": tensor(source, three, one, grad=b"\x88"),
        "hooks": tensor(source, three, one, hooks=b"}K\x01K\x01s"),
        "hooks that are a text": tensor(source, three, one, hooks=text("x")),
        "no storage": tensor(b"N", three, one),
        "a storage that is a tensor": tensor(tensor(source, one, one), three, one),
        "five arguments": called("torch._utils", "_rebuild_tensor_v2", source, number(0), three, one, b"\x89"),
        "claims more numbers than the entry": tensor(storage(10**9), three, one),
        "claims fewer numbers than the entry": tensor(storage(3), three, one),
        "a negative count": tensor(storage(-4), three, one),
        "an entry that is not there": tensor(storage(4, "7"), three, one),
        "an entry outside": tensor(storage(4, "../../../../etc/passwd"), three, one),
        "the pickle as numbers": tensor(storage(4, "../data.pkl"), three, one),
        "a number that is a text": tensor(tuple_of(text("storage"), named("torch", "FloatStorage")) + b"Q", three, one),
        "a persistent id that is a number": b"K\x05Q",
        "another persistent id": tuple_of(text("module"), named("torch", "FloatStorage")) + b"Q",
        "the storage itself": source,
        "the storage in a list": b"]" + source + b"a",
        "one storage for two": b"(" + tensor(source, three, one) + tensor(source, three, one) + b"t",
        "one tensor twice": tensor(source, three, one) + b"q\x00h\x00\x86",
        "two types of one storage": b"("
        + tensor(source, numbers(2), one)
        + tensor(storage(2, kind="LongStorage"), one, one)
        + b"t",
    }
    for kind in ("ComplexFloatStorage", "QUInt8Storage", "BoolStorage", "HalfStorage", "ByteStorage", "UntypedStorage"):
        lies[f"numbers of a {kind}"] = tensor(storage(4, kind=kind), three, one)
    return {f"tensor: {name}": (pickled(value + b".", **four), DAMAGED) for name, value in lies.items()}


def _zips(good: bytes) -> dict[str, File]:
    """Archives that are something else than torch's."""
    entries = entries_of(good)
    first = next(name for name in entries if "/data/" in name)
    main = "archive/data.pkl"
    files = {
        "inflates to 256 MB": _bomb(entries, first, 1 << 28, zipfile.ZIP_DEFLATED),
        "a pickle that inflates to 256 MB": _bomb(entries, main, 1 << 28, zipfile.ZIP_DEFLATED),
        "bzip2": zipped(entries, zipfile.ZIP_BZIP2),
        "lzma": zipped(entries, zipfile.ZIP_LZMA),
        "deflated": zipped(entries, zipfile.ZIP_DEFLATED),
        "an entry twice": zipped([*entries.items(), (first, entries[first])]),
        "the pickle twice": zipped([*entries.items(), (main, pickle.dumps(5, 2))]),
        "an entry above": zipped({**entries, "archive/../../evil": b"x"}),
        "an absolute entry": zipped({**entries, "/tmp/evil": b"x"}),
        "code": zipped({**entries, "archive/code/__torch__.py": b"import os"}),
        "constants": zipped({**entries, "archive/constants.pkl": b"\x80\x02)."}),
        "two folders": zipped({**entries, "other/version": b"3"}),
        "no pickle": zipped({name: value for name, value in entries.items() if name != main}),
        "no weights": zipped({main: entries[main]}),
        "a pickle of 17 MB": zipped({**entries, main: entries[main] + bytes(17 << 20)}),
        "big endian": zipped({**entries, "archive/byteorder": b"big"}),
        "no byte order known": zipped({**entries, "archive/byteorder": b"x" * 99}),
        "50,000 entries": zipped(
            {**entries, **{f"archive/data/{n}": b"" for n in range(100, 50_100)}, "archive/x": b""}
        ),
        "encrypted": _patched(good, first, 8, b"\x01\x08"),
        "a size of 4 GB declared": _patched(good, first, 20, b"\xf0\xff\xff\xff" * 2),
        "another size declared": _patched(good, first, 24, b"\x01\x00\x00\x00"),
        "another checksum declared": _patched(good, first, 16, b"\x01\x02\x03\x04"),
        "an offset beyond the file": _patched(good, first, 42, b"\xf0\xff\xff\x7f"),
        "an offset into another entry": _patched(good, first, 42, b"\x00\x00\x00\x00"),
        "an unknown compression": _patched(good, first, 10, b"\x63\x00"),
        "an empty zip": zipped({}),
        "legacy": saved({"weights": {}}, _use_new_zipfile_serialization=False),
        "tar": _tar(),
        "TorchScript": _script(),
        "gzip": gzip.compress(good),
        "safetensors": struct.pack("<Q", 2**63) + b'{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}',
        "a bare pickle": pickle.dumps({"format": "gptmodel 1"}),
        "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (9,)}",
        "zeros": bytes(100_000),
        "only an end of a zip": b"PK\x05\x06" + b"\xff" * 18,
        "zip64 of everything": b"PK\x06\x06"
        + b"\xff" * 52
        + b"PK\x06\x07"
        + bytes(16)
        + b"PK\x05\x06"
        + b"\xff" * 16
        + bytes(2),
    }
    return {f"zip: {name}": (value, DAMAGED) for name, value in files.items()}


def _bomb(entries: dict[str, bytes], name: str, size: int, compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for other, content in entries.items():
            if other != name:
                archive.writestr(other, content)
        with archive.open(name, "w") as stream:
            for _ in range(size >> 24):
                stream.write(bytes(1 << 24))
    return buffer.getvalue()


def _patched(archive: bytes, name: str, at: int, value: bytes) -> bytes:
    """The archive with bytes of an entry's line in the table of contents changed."""
    start = archive.rindex(name.encode()) - 46
    assert archive[start : start + 4] == b"PK\x01\x02"
    return archive[: start + at] + value + archive[start + at + len(value) :]


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = 8
            archive.addfile(info, io.BytesIO(bytes(8)))
    return buffer.getvalue()


def _script() -> bytes:
    names = ("constants.pkl", "data.pkl", "code/__torch__.py", "code/__torch__.py.debug_pkl", "version")
    return zipped({f"model/{name}": b"\x80\x02)." for name in names})


def _contents(good: bytes, folder: Path) -> dict[str, File]:
    """Well-formed archives whose content is a lie."""
    rotary = model_bytes(folder, position="rotary")
    free = model_bytes(folder, position="none")
    nested, long = "[" * 200_000, "9" * 50_000

    def with_text(key: str, value: str) -> bytes:
        return forged(good, lambda c: c.update({key: value}))

    def with_weight(value: Any, name: str = "decoder.bias") -> bytes:
        return forged(good, lambda c: c["weights"].update({name: value}))

    files = {
        "a thousand million layers": (configured(good, n_layer=10**9), "config is wrong"),
        "more layers than weights": (configured(good, n_layer=60_000), "its weights do not match its config"),
        "a block of a thousand million": (configured(free, block_size=10**9), "config is wrong"),
        "a block of a thousand million, rotary": (configured(rotary, block_size=10**9), "config is wrong"),
        "a block of a million, rotary, many layers": (_tables(folder), "too large for its weights"),
        "a width of 10^18": (configured(good, n_embd=10**18, n_head=1), "config is wrong"),
        "a width of 2^16": (configured(good, n_embd=2**16), "its weights do not match its config"),
        "60,000 heads": (configured(good, n_embd=60_000, n_head=60_000), "its weights do not match its config"),
        "ngrams that no weight proves": (
            configured(good, ngram_orders=[2, 3, 4, 5, 6, 7, 8]),
            "its weights do not match its config",
        ),
        "counts that are not there": (
            configured(good, kneser_ney=3, kneser_ney_share=0.3),
            "its weights do not match its config",
        ),
        "counts of n-grams of 10^9": (configured(good, kneser_ney=10**9, kneser_ney_share=0.3), "config is wrong"),
        "an order of 10^9": (configured(good, ngram_orders=[10**9]), "config is wrong"),
        "a negative size": (configured(good, n_layer=-1), "config is wrong"),
        "dropout that is no number": (with_text("config", json.dumps({"dropout": float("nan")})), "config is wrong"),
        "config nested deeply": (with_text("config", nested), WRONG),
        "config of 50,000 digits": (with_text("config", f'{{"n_layer": {long}}}'), WRONG),
        "config null": (with_text("config", "null"), WRONG),
        "config of nothing": (with_text("config", ""), WRONG),
        "tokenizer nested deeply": (with_text("tokenizer", nested), WRONG),
        "tokenizer nested deeply in dicts": (with_text("tokenizer", '{"kind":' * 200_000), WRONG),
        "tokenizer of 50,000 digits": (with_text("tokenizer", long), WRONG),
        "tokenizer of half a character": (with_text("tokenizer", '{"kind": "char", "characters": "\\ud800"}'), WRONG),
        "tokenizer of a million characters": (
            with_text("tokenizer", json.dumps({"kind": "char", "characters": "".join(map(chr, range(50_000)))})),
            "its weights do not match its config",
        ),
        "tokenizer whose kind is a list": (with_text("tokenizer", '{"kind": []}'), WRONG),
        "provenance nested deeply": (with_text("provenance", nested), WRONG),
        "provenance of 50,000 digits": (with_text("provenance", long), WRONG),
        "weights that are not numbers": (with_weight(torch.full((11,), float("nan"))), "not finite"),
        "weights that are infinite": (with_weight(torch.full((11,), float("-inf"))), "not finite"),
        "weights of float64": (with_weight(torch.zeros(11).double()), "wrong types"),
        "weights of int64": (with_weight(torch.zeros(11).long()), "wrong types"),
        "a weight too many": (with_weight(torch.zeros(1), "more"), "its weights do not match its config"),
        "a weight of another shape": (with_weight(torch.zeros(12)), "its weights do not match its config"),
        "a weight turned": (with_weight(torch.zeros(8, 11).T, "decoder.weight"), DAMAGED),
        "no weights": (forged(good, lambda c: c["weights"].clear()), "its weights do not match its config"),
        "3,000 weights": (
            forged(good, lambda c: c["weights"].update({f"w{n}": torch.zeros(0) for n in range(3_000)})),
            "its weights do not match its config",
        ),
    }
    return {f"content: {name}": value for name, value in files.items()}


def _tables(folder: Path) -> bytes:
    """Few weights, and a table of positions for each of many layers."""
    many = model_bytes(folder, position="rotary", n_layer=80, n_head=1, n_embd=2)
    return configured(many, block_size=2**20)
