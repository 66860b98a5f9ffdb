"""Everything a user can get wrong, in one table: status 2, one line that says what and how to mend it, nothing lost.

A case breaks a copy of a small finished project, runs a command line in it, and names a part of the line that has to
come. Whatever the case, each file of the project is afterwards as it was before.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from model_helpers import ROOT, small_values

from gptmodel.checkpoint.model_file import _digest
from gptmodel.tokenizers.char import CharTokenizer

TEXT = "To be, or not to be, that is the question:\n" * 30
Break = Callable[[Path], Any]


def run(folder: Path, *arguments: str) -> int:
    """Run the command line in this process, as the installed command does; return its status."""
    from stages.cli import app
    from stages.command import main

    before, handlers = Path.cwd(), {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["gptmodel", *arguments])
        patch.setenv("DVC_STAGE", "none")
        patch.delenv("DVC_ROOT", raising=False)
        try:
            main(app)
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert Path.cwd() == before
    raise AssertionError("the command did not end the process")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has run all stages."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(yaml.safe_dump(small_values()), encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "input.txt").write_text(TEXT, encoding="utf-8")
    for stage in (("prepare",), ("train",), ("evaluate",), ("sample", "--prompt", "To")):
        assert run(folder, *stage) == 0
    return folder


def tree(folder: Path) -> dict[str, str]:
    """The name of each file and folder, and the digest of each file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def params(**sections: dict[str, Any]) -> Break:
    """Change settings in the params file."""

    def change(folder: Path) -> None:
        values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        for name, settings in sections.items():
            values[name].update(settings)
        (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    return change


def without(section: str, key: str | None = None) -> Break:
    def change(folder: Path) -> None:
        values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        del (values if key is None else values[section])[key or section]
        (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    return change


def put(name: str, content: bytes) -> Break:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return change


def copied(name: str, copy: str) -> Break:
    return lambda folder: shutil.copy(folder / name, folder / copy)


def zipped(name: str, *texts: str) -> Break:
    def change(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for text in texts:
                archive.writestr(text, TEXT)

    return change


def gone(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def as_folder(name: str) -> Break:
    def change(folder: Path) -> None:
        if (folder / name).is_file():
            (folder / name).unlink()
        (folder / name).mkdir()

    return change


def as_file(name: str) -> Break:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).write_bytes(b"in the way")

    return change


def cut(name: str, end: int) -> Break:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:end])


def flipped(name: str, at: int) -> Break:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 4
        (folder / name).write_bytes(content)

    return change


def prepared_anew(text: str, *settings: str) -> Break:
    """Prepare another text after the training."""

    def change(folder: Path) -> None:
        (folder / "data" / "input.txt").write_text(text, encoding="utf-8")
        assert run(folder, "prepare", *settings) == 0

    return change


def model(change: Callable[[dict[str, Any]], Any], *, digest: bool = False) -> Break:
    """Change the content of model.pth, with or without the digest made right again."""

    def work(folder: Path) -> None:
        path = folder / "models" / "model.pth"
        content = torch.load(path, weights_only=True)
        change(content)
        if digest:
            content["digest"] = _digest(
                content["weights"], {key: content[key] for key in ("config", "tokenizer", "provenance")}
            )
        torch.save(content, path)

    return work


def link(name: str, target: str) -> Break:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def pipe(name: str) -> Break:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def nothing(_: Path) -> None: ...


def both(*breaks: Break) -> Break:
    return lambda folder: [one(folder) for one in breaks]


@dataclass(frozen=True)
class Case:
    command: str
    fragment: str
    broken: Break = nothing
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


OTHER_CHARACTERS = json.dumps(CharTokenizer("".join(map(chr, range(97, 97 + len(set(TEXT)))))).to_json())
T, M = "data/input.txt", "models/model.pth"
TOKENS, TOKENIZER = "data/prepared/train.bin", "data/prepared/tokenizer.json"
URL = ("-S", "fetch.source=http://127.0.0.1:9/text.txt")

PARAMS = {
    "no params file": Case(
        "train", "params.yaml: no such params file; run in the project's folder", gone("params.yaml")
    ),
    "another params file that is missing": Case(
        "train", "other.yaml: no such params file", nothing, ("--params", "other.yaml")
    ),
    "params file a folder": Case("train", "data: cannot be read: Is a directory", nothing, ("--params", "data")),
    "params file empty": Case("train", "params.yaml: has to hold ", put("params.yaml", b"")),
    "params file a list": Case("train", "params.yaml: has to hold ", put("params.yaml", b"- a\n- b\n")),
    "params file not YAML": Case("train", "params.yaml: not valid YAML", put("params.yaml", b"train: [1, 2")),
    "params file with a tab": Case("train", "not valid YAML", put("params.yaml", b"train:\n\tseed: 1\n")),
    "params file not UTF-8": Case("train", "params.yaml: not UTF-8 at byte 3", put("params.yaml", b"a: \xff")),
    "params file with code": Case(
        "train", "not valid YAML", put("params.yaml", b"a: !!python/object/apply:os.getcwd []")
    ),
    "params key twice": Case("train", "the key a appears twice", put("params.yaml", b"a: 1\na: 2\n")),
    "section missing": Case("train", "model: section missing (`python -m gptmodel.presets` adds", without("model")),
    "key missing": Case("train", "train.seed: missing (`python -m gptmodel.presets` adds", without("train", "seed")),
    "key unknown": Case(
        "train", "train.bach_size: unknown key, did you mean batch_size?", params(train={"bach_size": 3})
    ),
    "key of another section": Case("train", "train.n_layer: unknown key", params(train={"n_layer": 3})),
    "text for a number": Case(
        "train", "train.batch_size = 'many': has to be a whole number", params(train={"batch_size": "many"})
    ),
    "fraction for a count": Case("train", "train.max_iters = 0.5", params(train={"max_iters": 0.5})),
    "yes for true": Case(
        "train", "runtime.mlflow = 'maybe': has to be true or false", params(runtime={"mlflow": "maybe"})
    ),
    "null for a number": Case("train", "train.seed = null", params(train={"seed": None})),
    "NaN": Case(
        "train", "train.learning_rate = .nan: has to be a finite number", params(train={"learning_rate": float("nan")})
    ),
    "negative learning rate": Case(
        "train", "train.learning_rate = -1.0: has to be above 0", params(train={"learning_rate": -1.0})
    ),
    "number of 400 digits": Case(
        "train", "train.learning_rate = 1", nothing, ("-S", "train.learning_rate=1" + "0" * 400)
    ),
    "unknown word": Case("train", "model.norm = 'middle': has to be 'post' or 'pre'", params(model={"norm": "middle"})),
    "no layers": Case("train", "model.n_layer = 0: has to be above 0", params(model={"n_layer": 0})),
    "layers without end": Case(
        "train", "model.n_layer = 1000000000: has to be at most", params(model={"n_layer": 10**9})
    ),
    "heads that do not divide": Case(
        "train", "model.n_head = 3: does not divide model.n_embd = 8", params(model={"n_head": 3})
    ),
    "odd rotary head": Case(
        "train", "model.position = rotary: needs an even head size", params(model={"position": "rotary", "n_embd": 6})
    ),
    "ngrams of one": Case(
        "train", "model.ngram_orders = [1]: needs distinct orders from 2 to 8", params(model={"ngram_orders": [1]})
    ),
    "adamw without beta1": Case(
        "train", "train.beta1 is null: optimizer adamw needs it", params(train={"beta1": None})
    ),
    "min_lr above": Case(
        "train", "train.min_lr = 0.5: has to be at most train.learning_rate = 0.01", params(train={"min_lr": 0.5})
    ),
    "warm-up too long": Case(
        "train", "train.warmup_iters = 6: has to be below max_iters = 6", params(train={"warmup_iters": 6})
    ),
    "more parts than sequences": Case(
        "train", "train.parts = 5: can be at most train.batch_size = 4", params(train={"parts": 5, "batch_size": 4})
    ),
    "threads as they were set before": Case("train", "train.threads: is train.parts now", params(train={"threads": 2})),
    "parts that cannot be shared": Case(
        "train", "train.parts = 1: cannot be shared by 2 processes; set it to 2 or 4", params(runtime={"processes": 2})
    ),
    "compiled by several processes": Case(
        "train",
        "train.compile = true: on a CPU one process computes",
        params(train={"compile": True, "parts": 2}, model={"dropout": 0.0}, runtime={"processes": 2}),
    ),
    "shards of one process": Case(
        "train",
        "train.shard = true: is for several processes; set runtime.processes and train.parts to 2 or more",
        params(train={"shard": True}),
    ),
    "shards of other parts than processes": Case(
        "train",
        "train.shard = true: needs a part for each of the 2 processes; set train.parts to 2",
        params(train={"shard": True, "parts": 3}, runtime={"processes": 2}),
    ),
    "shards of tables of n-grams": Case(
        "train",
        "train.shard = true: has no tables of n-grams; set model.ngram_orders to [], or this to false",
        params(train={"shard": True, "parts": 2}, model={"ngram_orders": [2]}, runtime={"processes": 2}),
    ),
    "shards beside counts": Case(
        "train",
        "train.shard = true: has no counts of n-grams; set model.kneser_ney to 0, or this to false",
        params(
            train={"shard": True, "parts": 2},
            model={"kneser_ney": 2, "kneser_ney_share": 0.3},
            runtime={"processes": 2},
        ),
    ),
    "shards of muon": Case(
        "train",
        "train.shard = true: has no muon, which needs whole matrices; set train.optimizer to adamw",
        params(
            train={"shard": True, "parts": 2, "optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.95},
            runtime={"processes": 2},
        ),
    ),
    "shards that are compiled": Case(
        "train",
        "train.shard = true: is not compiled; set train.compile to false",
        params(train={"shard": True, "parts": 2, "compile": True}, runtime={"processes": 2}),
    ),
    "a plan of shards": Case(
        "plan",
        "train.shard = true: a plan is measured in one process; plan with -S train.shard=false",
        params(train={"shard": True, "parts": 2}, runtime={"processes": 2}),
    ),
    "no processes": Case("train", "runtime.processes = 0: has to be above 0", params(runtime={"processes": 0})),
    "restarts below 0": Case("train", "runtime.restarts = -1: has to be at least 0", params(runtime={"restarts": -1})),
    "no time to answer": Case("train", "runtime.rank_timeout = 0", params(runtime={"rank_timeout": 0})),
    "a launcher that is not there": Case(
        "train",
        "runtime.launcher: no-such: No such file or directory; install it",
        params(runtime={"launcher": "no-such"}),
    ),
    "a launcher with a variable that is not set": Case(
        "train", "runtime.launcher: $NO_SUCH is not set in the environment", params(runtime={"launcher": "x $NO_SUCH"})
    ),
    "a launcher with an open quotation": Case(
        "train", "runtime.launcher = 'x: no closing quotation", params(runtime={"launcher": "'x"})
    ),
    "an empty launcher": Case("train", "runtime.launcher = ''", params(runtime={"launcher": ""})),
    "no threads": Case(
        "train", "runtime.threads = 0: has to be auto, or a whole number", params(runtime={"threads": 0})
    ),
    "threads in words": Case(
        "train", "runtime.threads = 'two': has to be auto, or a whole number", params(runtime={"threads": "two"})
    ),
    "float16 on cpu": Case("train", "train.dtype = float16: needs device cuda", params(train={"dtype": "float16"})),
    "three faults at once": Case(
        "train", "train.seed = -1", params(train={"seed": -1}, model={"n_embd": 0}, sample={"top_p": 2.0})
    ),
    "a batch larger than memory": Case(
        "train", "GB of memory, and this machine has", params(train={"batch_size": 10**9})
    ),
    "a model larger than memory": Case(
        "train", "lower train.batch_size, model.block_size", params(model={"n_embd": 65536, "n_layer": 50})
    ),
    "a device that is not there": Case(
        "train", "train.device = mps: torch finds no such device", params(train={"device": "mps"})
    ),
    "samples without end": Case("sample", "sample.num_samples = 1000000000000", params(sample={"num_samples": 10**12})),
}

PARAMS |= {
    "params file a loop of links": Case(
        "train", "params.yaml: cannot be read: Too many", link("params.yaml", "params.yaml")
    ),
    "params file a device": Case(
        "train", "/dev/zero: has more than 1,000,000 bytes", nothing, ("--params", "/dev/zero")
    ),
    "params file a text by mistake": Case(
        "train", "has more than 1,000,000 bytes", put(T, b"x" * 1_000_001), ("--params", T)
    ),
    "params file of two documents": Case(
        "train", "expected a single document", put("params.yaml", b"a: 1\n---\nb: 1\n")
    ),
    "params file cut in a key": Case(
        "train",
        "not valid YAML: line 3, column 7: could not find expected ':'",
        put("params.yaml", b"train:\n  seed: 1\n  max_"),
    ),
    "params file with a character that YAML forbids": Case(
        "train", "character 3 (counted from 0) is U+0000", put("params.yaml", b"a: \0")
    ),
    "params file with a tag": Case("train", "the tag !Thing is not allowed here", put("params.yaml", b"a: !Thing 1")),
    "params file with a key that is a number": Case(
        "train", "the key 1 has to be a word", put("params.yaml", b"1: a\n")
    ),
    "params file nested without end": Case("train", "it is nested too deeply", put("params.yaml", b"[" * 9000)),
    "params file with a day that is none": Case(
        "train", "a date that does not exist", put("params.yaml", b"a: 2026-02-30\n")
    ),
    "a section twice": Case("train", "the key train appears twice", put("params.yaml", b"train: {}\ntrain: {}\n")),
    "a section that is a list": Case(
        "train", "train = [1]: has to be a section of keys and values", put("params.yaml", b"train: [1]\n")
    ),
    "a list for a number": Case("train", "train.seed = [1]: has to be a whole number", params(train={"seed": [1]})),
    "a number for a list": Case(
        "train",
        "model.ngram_orders = 2: has to be a list, such as [2, 3]",
        params(model={"ngram_orders": 2}),
    ),
    "a word in a list of numbers": Case(
        "train",
        "model.ngram_orders: item 2 = 'three': has to be a whole number",
        params(model={"ngram_orders": [2, "three"]}),
    ),
    "a date for a number": Case(
        "train", "train.seed = 2026-01-02: has to be a whole number", nothing, ("-S", "train.seed=2026-01-02")
    ),
    "a number for true or false": Case(
        "train", "train.compile = 1: has to be true or false", params(train={"compile": 1})
    ),
    "yes, which DVC reads as a word": Case("train", "train.compile = 'yes'", nothing, ("-S", "train.compile=yes")),
    "a time, which DVC reads as a word": Case("train", "train.seed = '1:30'", nothing, ("-S", "train.seed=1:30")),
    "a decimal comma": Case(
        "train", "train.learning_rate = '0,001': has to be a number", nothing, ("-S", "train.learning_rate=0,001")
    ),
    "a count with a unit": Case(
        "train", "train.max_iters = '5k': has to be a whole number", nothing, ("-S", "train.max_iters=5k")
    ),
    "a count of thirty digits": Case("train", "has to be below 2^63", params(train={"max_iters": 10**30})),
    "a short form of a key": Case(
        "train", "train.lr: unknown key, did you mean learning_rate?", params(train={"lr": 1e-3})
    ),
    "a key in capitals": Case("train", "did you mean seed?", params(train={"SEED": 1})),
    "a setting that DVC's words fit, but not ours": Case(
        "train", "train.seed = 'a\\nb'", params(train={"seed": "a\nb"})
    ),
}

TEXTS = {
    "no text": Case("prepare", "data/input.txt: no such text; run `dvc repro fetch`", gone(T)),
    "text empty": Case("prepare", "data/input.txt: is empty", put(T, b"")),
    "text a folder": Case("prepare", "data/input.txt: is a folder", as_folder(T)),
    "text not UTF-8": Case(
        "prepare", "data/input.txt: not UTF-8 at byte 6 (counted from 0)", put(T, b"hello \xff" + b"x" * 99)
    ),
    "text cut in a character": Case("prepare", "not UTF-8 at byte 2", put(T, b"ab\xe2\x82")),
    "text in UTF-16": Case("prepare", "not UTF-8 at byte 0", put(T, "hello".encode("utf-16"))),
    "text of one character": Case("prepare", "has only one distinct character", put(T, b"aaaaaaaaaaaaaaaaaaaaaaa")),
    "text of one byte value": Case(
        "prepare", "has only one distinct character", put(T, b"a" * 99), ("-S", "prepare.tokenizer=byte")
    ),
    "text too short to split": Case("prepare", "3 tokens leave 2 to train and 1 to validate", put(T, b"abc")),
    "val split without tokens": Case(
        "prepare", "another prepare.train_fraction", nothing, ("-S", "prepare.train_fraction=0.9999")
    ),
    "val split below a block": Case(
        "train",
        "the val split has 9 tokens, but model.block_size = 32 needs 33",
        both(prepared_anew("ab" * 45), params(model={"block_size": 32})),
    ),
    "train split below a block": Case(
        "train", "the train split has 5 tokens", both(prepared_anew("ab" * 25, "-S", "prepare.train_fraction=0.1"))
    ),
}

TEXTS |= {
    "text in UTF-16 without its mark": Case("prepare", "UTF-16", put(T, "hello world, again".encode("utf-16-le"))),
    "text in UTF-16, the other way round": Case("prepare", "UTF-16", put(T, "hello world, again".encode("utf-16-be"))),
    "text in UTF-32": Case("prepare", "UTF-32", put(T, "hello world, again".encode("utf-32"))),
    "text in Windows-1252": Case("prepare", "1252", put(T, "Überall naïve Cafés, über alles".encode("cp1252"))),
    "text of a mark alone": Case("prepare", T, put(T, b"\xef\xbb\xbf")),
    "text a loop of links": Case("prepare", "data/input.txt: ", link(T, "input.txt")),
    "text a link to nothing": Case("prepare", "data/input.txt: no such text", link(T, "nowhere.txt")),
    "text a pipe": Case("prepare", "data/input.txt: ", pipe(T)),
}

WORDS = {"tokenizer": "bpe", "vocab_size": 300}
BPE = ("-S", "prepare.tokenizer=bpe", "-S", "prepare.vocab_size=300")


def of_words(*tokens: str, kind: str = "bpe") -> Break:
    """Put a tokenizer of these tokens there."""
    return put(TOKENIZER, json.dumps({"kind": kind, "tokens": tokens}).encode())


VOCABULARIES = {
    "bpe without its size": Case(
        "prepare",
        "prepare.vocab_size is null: tokenizer bpe needs it; usual is -S prepare.vocab_size=4096",
        params(prepare={"tokenizer": "bpe"}),
    ),
    "a size for characters": Case(
        "prepare",
        "prepare.vocab_size = 4096: is for prepare.tokenizer = bpe, not char; set it to null",
        params(prepare={"vocab_size": 4096}),
    ),
    "a size for gpt2": Case(
        "prepare",
        "is for prepare.tokenizer = bpe, not gpt2",
        params(prepare={"tokenizer": "gpt2", "vocab_size": 50257}),
    ),
    "a vocabulary of bytes alone": Case(
        "prepare", "prepare.vocab_size = 256: has to be at least 257", params(prepare=WORDS | {"vocab_size": 256})
    ),
    "a vocabulary too large": Case(
        "prepare", "prepare.vocab_size = 65537: has to be at most 65536", params(prepare=WORDS | {"vocab_size": 65537})
    ),
    "a size in words": Case(
        "prepare", "prepare.vocab_size = '4k': has to be a whole number", params(prepare=WORDS | {"vocab_size": "4k"})
    ),
    "a tokenizer that is none": Case(
        "prepare",
        "prepare.tokenizer = 'BPE': has to be 'char', 'byte', 'bpe' or 'gpt2'",
        params(prepare={"tokenizer": "BPE"}),
    ),
    "bpe of a text not UTF-8": Case("prepare", "not UTF-8 at byte 3", put(T, b"abc\xff" * 99), BPE),
    "bpe of a short text": Case("prepare", "2 tokens leave 1 to train and 1 to validate", put(T, b"abcdefghi "), BPE),
    "tokens that are no list": Case(
        "train", "the fields of the bpe tokenizer are wrong", put(TOKENIZER, b'{"kind": "bpe", "tokens": {}}')
    ),
    "a token twice": Case("train", "its token 257 comes twice, or is not made of two before it", of_words("ab", "ab")),
    "a token made of none": Case("train", "its token 256 comes twice, or is not made of two", of_words("abc")),
    "tokens that double": Case("train", "its token 264 comes", of_words(*("a" * 2**n for n in range(1, 20)))),
    "a token of half a character": Case("train", "its token 256 comes twice, or", of_words("\ud800a")),
    "gpt2 with other tokens": Case(
        "train", "its tokens are not those of GPT-2; run `gptmodel", of_words("ab", kind="gpt2")
    ),
    "more tokens than there are": Case(
        "train", "the fields of the bpe tokenizer are wrong", of_words(*("ab" for _ in range(65_281)))
    ),
    "n-grams too long for a vocabulary": Case(
        "train",
        "model.kneser_ney = 9: can be at most 7 with a vocabulary of 280",
        prepared_anew(TEXT * 9, *BPE),
        ("-S", "model.kneser_ney=9", "-S", "model.kneser_ney_share=0.3"),
    ),
    "a teacher's n-grams too long for a vocabulary": Case(
        "train",
        "train.teacher_order = 9: can be at most 7 with a vocabulary of 280",
        prepared_anew(TEXT * 9, *BPE),
        ("-S", "train.teacher_order=9", "-S", "train.teacher_share=0.3"),
    ),
    "a block longer than the tokens": Case(
        "train",
        "tokens, but model.block_size = 400 needs 401; use a smaller model.block_size",
        prepared_anew(TEXT, *BPE),
        ("-S", "model.block_size=400"),
    ),
    "a model of characters for words": Case(
        "evaluate", "the model was trained with another tokenizer than the one in", prepared_anew(TEXT, *BPE)
    ),
}

PREPARED = {
    "no tokenizer": Case("train", "tokenizer.json: no such file; run `dvc repro prepare` first", gone(TOKENIZER)),
    "tokenizer not JSON": Case("train", "tokenizer.json is not JSON", put(TOKENIZER, b"{")),
    "tokenizer of another kind": Case(
        "train", "the tokenizer's kind has to be one of char, byte, bpe, gpt2", put(TOKENIZER, b'{"kind": "x"}')
    ),
    "tokenizer unsorted": Case(
        "train", "the characters are not sorted and distinct", put(TOKENIZER, b'{"kind": "char", "characters": "ba"}')
    ),
    "tokenizer of another text": Case(
        "train", "train.bin: was not made with", put(TOKENIZER, OTHER_CHARACTERS.encode())
    ),
    "no token file": Case("train", "train.bin: no such token file; run `dvc repro prepare` first", gone(TOKENS)),
    "token file a folder": Case("train", "train.bin: cannot be read: Is a directory", as_folder(TOKENS)),
    "token file a text": Case(
        "train", "train.bin: not a token file; run `gptmodel prepare` again", put(TOKENS, TEXT.encode())
    ),
    "token file cut": Case("train", "so it was cut off or added to", cut(TOKENS, 100)),
    "token file with a bad header": Case("train", "train.bin: the header is damaged", flipped(TOKENS, 20)),
    "val split a text": Case("train", "val.bin: not a token file", put("data/prepared/val.bin", b"x" * 200)),
    "nothing prepared": Case(
        "train", "run `dvc repro prepare` first", lambda folder: shutil.rmtree(folder / "data" / "prepared")
    ),
    "evaluate without tokens": Case("evaluate", "train.bin: no such token file", gone(TOKENS)),
    "evaluate after another text": Case(
        "evaluate",
        "tokenizer than the one in data/prepared; run `dvc repro`, or give `gptmodel evaluate` a text by --data",
        prepared_anew("abc " * 99),
    ),
    "evaluate with another history": Case(
        "evaluate", "metrics/history.csv: not the history of a training", put("metrics/history.csv", b"a,b\n1,2\n")
    ),
    "evaluate with a history of nan": Case(
        "evaluate",
        "line 2 has impossible numbers",
        put(
            "metrics/history.csv", b"iteration,tokens,seconds,learning_rate,train_loss,val_loss\n0,0,0.1,0.1,nan,1.0\n"
        ),
    ),
    "evaluate with a damaged run.json": Case(
        "evaluate",
        "models/run.json: does not name a run",
        both(params(runtime={"mlflow": True}), put("models/run.json", b"[")),
    ),
}

MODELS = {
    "no model": Case("sample", "models/model.pth: no such model; train one with `dvc repro train`", gone(M)),
    "evaluate without a model": Case("evaluate", "models/model.pth: no such model", gone(M)),
    "another model that is missing": Case("sample", "x.pth: no such model", nothing, ("--model", "x.pth")),
    "model a folder": Case("sample", "models: is a folder; name a model file", nothing, ("--model", "models")),
    "model a folder with a model": Case("sample", ".: is a folder; name models/model.pth", nothing, ("--model", ".")),
    "model a device": Case(
        "sample", "/dev/zero: cannot be read: it is a pipe, a device or a socket", nothing, ("--model", "/dev/zero")
    ),
    "model a name without end": Case("sample", "File name too long", nothing, ("--model", "x" * 300)),
    "model empty": Case("sample", "models/model.pth: not a model file, or damaged", put(M, b"")),
    "model a text": Case("sample", "not a model file, or damaged", put(M, TEXT.encode())),
    "model cut": Case("sample", "not a model file, or damaged", cut(M, 5000)),
    "model flipped": Case("sample", "not a model file, or damaged", flipped(M, 4000)),
    "model of an older format": Case(
        "sample", "not a model file of this version", model(lambda c: c.update(format="gptmodel 0"))
    ),
    "model of another program": Case(
        "sample", "not a model file of this version", lambda folder: torch.save({"model": {}}, folder / M)
    ),
    "a whole module": Case(
        "sample", "not a model file, or damaged", lambda folder: torch.save(torch.nn.Linear(2, 2), folder / M)
    ),
    "tokenizer exchanged": Case(
        "sample", "do not belong together", model(lambda c: c.update(tokenizer=OTHER_CHARACTERS))
    ),
    "config exchanged": Case(
        "sample", "do not belong together", model(lambda c: c.update(config=c["config"].replace("post", "pre")))
    ),
    "weights exchanged": Case(
        "sample", "do not belong together", model(lambda c: c["weights"]["decoder.bias"].add_(1.0))
    ),
    "config exchanged, digest right": Case(
        "sample",
        "its weights do not match its config",
        model(lambda c: c.update(config=c["config"].replace("learned", "none")), digest=True),
    ),
    "weights that are no numbers": Case(
        "sample",
        "some of its weights are not finite",
        model(lambda c: c["weights"]["decoder.bias"].fill_(float("nan")), digest=True),
    ),
}

PROMPTS = {
    "prompt empty": Case("sample", "the prompt is empty: give at least one character", nothing, ("--prompt", "")),
    "prompt with an unknown character": Case(
        "sample", "character 3 (counted from 0) is 'é' (U+00E9), which is not among", nothing, ("--prompt", "To é")
    ),
    "prompt with an escape that no shell took": Case(
        "sample",
        "the prompt holds a backslash and 'n', and the model knows no backslash",
        nothing,
        ("--prompt", r"To\n"),
    ),
    "prompt of a control character": Case(
        "sample", "is '\\x00'", put("prompt.txt", b"\0"), ("--prompt-file", "prompt.txt")
    ),
    "prompt in the params unknown": Case(
        "sample", "character 0 (counted from 0) is 'Ж'", params(sample={"prompt": "Ж"})
    ),
    "prompt in the params empty": Case("sample", "sample.prompt = ''", params(sample={"prompt": ""})),
    "prompt file missing": Case(
        "sample", "--prompt-file p.txt: cannot be read: No such file", nothing, ("--prompt-file", "p.txt")
    ),
    "prompt file a folder": Case(
        "sample", "--prompt-file data: cannot be read: Is a directory", nothing, ("--prompt-file", "data")
    ),
    "prompt file not UTF-8": Case(
        "sample", "--prompt-file p.txt: not UTF-8 at byte 2", put("p.txt", b"To\xff"), ("--prompt-file", "p.txt")
    ),
    "prompt file empty": Case("sample", "the prompt is empty", put("p.txt", b""), ("--prompt-file", "p.txt")),
    "both prompts": Case(
        "sample", "--prompt and --prompt-file: give only one of them", nothing, ("--prompt", "a", "--prompt-file", T)
    ),
    "a device to sample on": Case(
        "sample", "sample.device = mps: torch finds no such device", nothing, ("-S", "sample.device=mps")
    ),
}

FETCHES = {
    "own without a text": Case(
        "fetch", "data/input.txt: no such file, and fetch.source is own; put your text there", gone(T)
    ),
    "a path that is missing": Case(
        "fetch", "none.txt: cannot be read: No such file", gone(T), ("-S", "fetch.source=none.txt")
    ),
    "a word that is nearly one": Case(
        "fetch", "shakespear); did you mean shakespeare?", gone(T), ("-S", "fetch.source=shakespear")
    ),
    "a path at home that is missing": Case(
        "fetch", "~/none/none.txt: cannot be read: No such file", gone(T), ("-S", "fetch.source=~/none/none.txt")
    ),
    "a home of nobody": Case(
        "fetch", "~nobody-at-all/a: cannot be read", gone(T), ("-S", "fetch.source=~nobody-at-all/a")
    ),
    "a source that fetch writes": Case(
        "fetch", "data/fetch.source: is written by fetch", gone(T), ("-S", "fetch.source=data/fetch.source")
    ),
    "a folder where fetch notes its source": Case(
        "fetch", "data/fetch.source: Is a directory; move away the folder", as_folder("data/fetch.source")
    ),
    "a limit that is none": Case("fetch", "fetch.max_gb = 0: has to be above 0", gone(T), ("-S", "fetch.max_gb=0")),
    "a limit that no disk has": Case(
        "fetch",
        "fetch.max_gb = 1e+300: has to be at most 1000000000",
        both(gone(T), put("texts/a.txt", b"a"), put("texts/b.txt", b"b")),
        ("-S", "fetch.source=texts", "-S", "fetch.max_gb=1.0e+300"),
    ),
    "a limit without a number": Case("fetch", "fetch.max_gb = 'all'", gone(T), ("-S", "fetch.max_gb=all")),
    "a folder as the source that fetch writes into": Case(
        "fetch", "data: data/input.txt, which fetch writes, is below the same", gone(T), ("-S", "fetch.source=data")
    ),
    "a URL without sha256": Case("fetch", "fetch.sha256 is null: a URL needs the sha256", gone(T), URL),
    "a wrong sha256": Case(
        "fetch", "instead of " + "a" * 64, gone(T), ("-S", "fetch.source=params.yaml", "-S", "fetch.sha256=" + "a" * 64)
    ),
    "a sha256 that is none": Case("fetch", "fetch.sha256 = 'abc'", gone(T), (*URL, "-S", "fetch.sha256=abc")),
    "a server that is not there": Case(
        "fetch", "http://127.0.0.1:9/text.txt: cannot be fetched", gone(T), (*URL, "-S", "fetch.sha256=" + "a" * 64)
    ),
    "a protocol that is none": Case(
        "fetch", "cannot be fetched", gone(T), ("-S", "fetch.source=gopher://x/y", "-S", "fetch.sha256=" + "a" * 64)
    ),
    "a text of one's own there": Case(
        "fetch",
        "was not written by fetch, so it is not replaced; set fetch.source to own",
        nothing,
        ("-S", "fetch.source=params.yaml"),
    ),
    "a text of one's own against shakespeare": Case(
        "fetch", "was not written by fetch, so it is not replaced", nothing, ("-S", "fetch.source=shakespeare")
    ),
    "a folder where the text goes": Case("fetch", "data/input.txt: is a folder", as_folder(T)),
}

FETCHES |= {
    "a pipe as the source": Case(
        "fetch",
        "pipe.txt: is a pipe, a device or a socket",
        both(gone(T), pipe("pipe.txt")),
        ("-S", "fetch.source=pipe.txt"),
    ),
    "a device as the source": Case(
        "fetch", "/dev/zero: is a pipe, a device or a socket", gone(T), ("-S", "fetch.source=/dev/zero")
    ),
    "a loop of links as the source": Case(
        "fetch", "cannot be read", both(gone(T), link("l.txt", "l.txt")), ("-S", "fetch.source=l.txt")
    ),
    "a password in the source": Case(
        "fetch",
        "error: http://127.0.0.1:9/t: cannot be fetched",
        gone(T),
        ("-S", "fetch.source=http://user:secret@127.0.0.1:9/t", "-S", "fetch.sha256=" + "a" * 64),
    ),
}

SOURCE = ("-S", "fetch.source=texts")
FOLDERS = {
    "a folder without a text": Case(
        "fetch", "texts: holds no file; put the texts there", both(gone(T), as_folder("texts")), SOURCE
    ),
    "a folder of empty texts": Case(
        "fetch", "texts: is empty; let fetch.source name a text", both(gone(T), put("texts/a.txt", b"")), SOURCE
    ),
    "a picture among the texts": Case(
        "fetch",
        "texts/logo.png: not UTF-8 at byte 0 (counted from 0); it does not look like text, since it holds NUL bytes; "
        "take it away, or name the texts by a pattern, such as 'texts/*.txt'",
        both(gone(T), put("texts/a.txt", b"a"), put("texts/logo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")),
        SOURCE,
    ),
    "a text of another encoding among the texts": Case(
        "fetch",
        "texts/a.txt: not UTF-8 at byte 0 (counted from 0); it is probably WINDOWS-1251; convert it with `iconv -f "
        "WINDOWS-1251 -t UTF-8 ",
        both(gone(T), put("texts/a.txt", ("«" + "Все счастливые семьи похожи друг на друга." * 3).encode("cp1251"))),
        SOURCE,
    ),
    "a link that leads out of the folder": Case(
        "fetch",
        "texts/l.txt: is a link that leads out of the folder; put the text itself there, or take it away",
        both(gone(T), put("texts/a.txt", b"a"), link("texts/l.txt", "../params.yaml")),
        SOURCE,
    ),
    "a link to a folder among the texts": Case(
        "fetch",
        "texts/l: is a link that leads to a folder",
        both(gone(T), put("texts/a.txt", b"a"), link("texts/l", ".")),
        SOURCE,
    ),
    "a link to nothing among the texts": Case(
        "fetch",
        "texts/l: is a link that leads nowhere",
        both(gone(T), put("texts/a.txt", b"a"), link("texts/l", "no")),
        SOURCE,
    ),
    "a pipe among the texts": Case(
        "fetch",
        "texts/p: is a pipe, a device or a socket; take it out of the folder",
        both(gone(T), put("texts/a.txt", b"a"), pipe("texts/p")),
        SOURCE,
    ),
    "a pattern without a match": Case(
        "fetch", "texts/*.md: matches no file; check fetch.source", gone(T), ("-S", "fetch.source=texts/*.md")
    ),
    "a pattern in the project's folder": Case(
        "fetch",
        "*.yaml: data/input.txt, which fetch writes, is below the same folder; put the texts into a folder",
        gone(T),
        ("-S", "fetch.source='*.yaml'"),
    ),
    "a sha256 of a folder": Case(
        "fetch",
        "fetch.sha256: is that of one file, but texts names several; set it to null",
        both(gone(T), put("texts/a.txt", b"a")),
        (*SOURCE, "-S", "fetch.sha256=" + "a" * 64),
    ),
    "a damaged packed text": Case(
        "fetch",
        "t.gz: cannot be unpacked: Not a gzipped file (b'no'); it is damaged",
        both(gone(T), put("t.gz", b"no gzip")),
        ("-S", "fetch.source=t.gz"),
    ),
    "half of a packed text": Case(
        "fetch",
        "t.xz: cannot be unpacked: Compressed file ended before",
        both(gone(T), put("t.xz", lzma.compress(TEXT.encode())[:50])),
        ("-S", "fetch.source=t.xz"),
    ),
    "a zip that is none": Case(
        "fetch",
        "t.zip: cannot be unpacked: File is not a zip file",
        both(gone(T), put("t.zip", b"no zip")),
        ("-S", "fetch.source=t.zip"),
    ),
    "a small file with a large text": Case(
        "fetch",
        "t.bz2: more comes out of it than fetch.max_gb allows; raise that if the text is so large",
        both(gone(T), put("t.bz2", bz2.compress(b"0" * 100_000))),
        ("-S", "fetch.source=t.bz2", "-S", "fetch.max_gb=0.00001"),
    ),
    "a separator that is a number": Case(
        "fetch", "fetch.separator = 5: has to be a text", gone(T), ("-S", "fetch.separator=5")
    ),
    "a separator that is half of a character": Case(
        "fetch",
        r"fetch.separator = '\ud83d': holds half of a character, which no text in UTF-8 can; leave it out",
        both(gone(T), put("texts/a.txt", b"a"), put("texts/b.txt", b"b")),
        (*SOURCE, "-S", r'fetch.separator="\ud83d"'),
    ),
    "a val text that fetch does not find": Case(
        "fetch",
        "none.txt: no such file; prepare.val_source has to name a text file",
        gone(T),
        ("-S", "fetch.source=params.yaml", "-S", "prepare.val_source=none.txt"),
    ),
}
STARTS = {
    "a model to start from that fetch does not find": Case(
        "fetch",
        "train.init_from = none.pth: no such file; name a model.pth that is there, or set it to null",
        nothing,
        ("-S", "train.init_from=none.pth"),
    ),
    "a model to start from that is a folder": Case(
        "train", "train.init_from = data: is a folder; name a model.pth", nothing, ("-S", "train.init_from=data")
    ),
    "a model to start from at a URL": Case(
        "train",
        "train.init_from: has to be a path; download that model, and name the file",
        nothing,
        ("-S", "train.init_from=https://example.org/model.pth"),
    ),
    "a training that starts from its own model": Case(
        "train",
        "train.init_from = models/model.pth: is what the training itself writes; `cp models/model.pth start.pth`",
        nothing,
        ("-S", "train.init_from=models/model.pth"),
    ),
    "a model to start from that is none": Case(
        "train",
        "train.init_from = own.txt: not a model file, or damaged (",
        put("own.txt", b"no model"),
        ("-S", "train.init_from=own.txt"),
    ),
    "a model to start from that is damaged": Case(
        "train",
        "train.init_from = start.pth: weights, config and tokenizer do not belong together; "
        "let train.init_from name another file",
        both(model(lambda content: content.update(digest="0" * 64)), copied(M, "start.pth")),
        ("-S", "train.init_from=start.pth"),
    ),
    "a model to start from of an older version": Case(
        "train",
        "train.init_from = start.pth: not a model file of this version (gptmodel 1); let train.init_from name another",
        both(model(lambda content: content.update(format="gptmodel 0")), copied(M, "start.pth")),
        ("-S", "train.init_from=start.pth"),
    ),
    "a model to start from that is none, for two processes": Case(
        "train",
        "train.init_from = own.txt: not a model file, or damaged (",
        both(put("own.txt", b"no model"), params(train={"parts": 2}, runtime={"processes": 2})),
        ("-S", "train.init_from=own.txt"),
    ),
    "a model to start from of another size": Case(
        "train",
        "train.init_from = start.pth: has model.n_embd = ",
        copied(M, "start.pth"),
        ("-S", "train.init_from=start.pth", "-S", "model.n_embd=24"),
    ),
    "no patience": Case("train", "train.patience = 0: has to be above 0", nothing, ("-S", "train.patience=0")),
    "half a patience": Case("train", "train.patience = 1.5: has to be", nothing, ("-S", "train.patience=1.5")),
    "weights that are neither the last nor the best": Case(
        "train", "train.keep = 'first': has to be 'last' or 'best'", nothing, ("-S", "train.keep=first")
    ),
}
SPLITS = {
    "a val text that is missing": Case(
        "prepare",
        "none.txt: no such file; prepare.val_source has to name a text file",
        nothing,
        ("-S", "prepare.val_source=none.txt"),
    ),
    "a val text that is a folder": Case(
        "prepare", "data: is a folder; prepare.val_source has to", nothing, ("-S", "prepare.val_source=data")
    ),
    "a val text at a URL": Case(
        "prepare",
        "prepare.val_source: has to be a path; put that text into a file, and name the file",
        nothing,
        ("-S", "prepare.val_source=https://example.org/val.txt"),
    ),
    "a val text without a character": Case(
        "prepare", "v.txt: is empty", put("v.txt", b""), ("-S", "prepare.val_source=v.txt")
    ),
    "a val text that is not UTF-8": Case(
        "prepare", "v.txt: not UTF-8 at byte 1", put("v.txt", b"a\xff"), ("-S", "prepare.val_source=v.txt")
    ),
    "a packed val text that is damaged": Case(
        "prepare",
        "prepare.val_source = v.gz: cannot be unpacked: Not a gzipped file",
        put("v.gz", b"no such file"),
        ("-S", "prepare.val_source=v.gz"),
    ),
    "a packed val text that is cut": Case(
        "prepare",
        "prepare.val_source = v.xz: cannot be unpacked: ",
        put("v.xz", lzma.compress(TEXT.encode() * 100)[:-20]),  # its beginning is whole
        ("-S", "prepare.val_source=v.xz"),
    ),
    "several val texts in a zip": Case(
        "prepare",
        "prepare.val_source = v.zip: holds several texts, and has to be one; unpack it, and join them to one file",
        zipped("v.zip", "a.txt", "b.txt"),
        ("-S", "prepare.val_source=v.zip"),
    ),
    "a packed val text of another name": Case(
        "prepare",
        "prepare.val_source = v.txt: not UTF-8 at byte 1 (counted from 0); it begins as a .gz file does; unpack it",
        put("v.txt", gzip.compress(TEXT.encode())),
        ("-S", "prepare.val_source=v.txt"),
    ),
    "a test part that is all": Case(
        "prepare", "prepare.test_fraction = 1.0: has to be below 1", nothing, ("-S", "prepare.test_fraction=1.0")
    ),
    "a test part that leaves nothing": Case(
        "prepare",
        "prepare.test_fraction = 0.1: nothing is left to validate with prepare.train_fraction = 0.9; lower one of them",
        nothing,
        ("-S", "prepare.test_fraction=0.1"),
    ),
    "a test part of one token": Case(
        "prepare",
        "1 to test, but each split needs 2",
        put(T, b"To be, or not to be!"),
        ("-S", "prepare.test_fraction=0.05", "-S", "prepare.train_fraction=0.5"),
    ),
    "a test where there is no test split": Case(
        "evaluate",
        "data/prepared/test.bin: there is no test split, as prepare.test_fraction was 0; set it, and prepare again",
        nothing,
        ("--test",),
    ),
    "a test of two texts": Case(
        "evaluate", "--test and --data: each names a text to score", nothing, ("--test", "--data", T)
    ),
}

OWN_LOCK = """schema: '2.0'
stages:
  fetch:
    cmd: python -m stages.fetch
    params:
      params.yaml:
        fetch: {source: own}
    outs:
    - {path: data/input.txt, hash: md5, md5: 0123456789abcdef0123456789abcdef, size: 5}
"""
BUCKET = ("-S", "fetch.source=s3://bucket/text.txt")
NO_S3 = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_MAX_ATTEMPTS": "1",
}


def tracked_at(uri: str, fragment: str) -> Case:
    """A command that needs the MLflow store, with an address of it that can be none."""
    return Case("ui", fragment, environment={"MLFLOW_TRACKING_URI": uri})


NOTED = both(put("data/prepare.val_source", b"none\n"), put("data/train.init_from", b"none\n"))
"""What fetch writes without the text too, where dvc.lock knows that text."""
ELSEWHERE = {
    "a clone without the text of one's own": Case(
        "fetch",
        "`dvc repro --allow-missing` goes on without it; or put the text there that has the sha256 ",
        both(gone(T), put("dvc.lock", OWN_LOCK.encode()), NOTED),
    ),
    "a clone without that text, before a pull": Case(
        "fetch",
        "that has the md5 0123456789abcdef0123456789abcdef (its sha256 comes with `dvc pull`)",
        both(gone(T), put("dvc.lock", OWN_LOCK.encode()), gone("metrics/prepare.json"), NOTED),
    ),
    "a clone without that text, with a damaged lock": Case(
        "fetch", "put your text there, or change fetch.source", both(gone(T), put("dvc.lock", b"stages: ["))
    ),
    "an S3 address without sha256": Case("fetch", "fetch.sha256 is null: a URL needs the sha256", gone(T), BUCKET),
    "an S3 server that is not there": Case(  # without s3fs it says what to install
        "fetch",
        "s3://bucket/text.txt: cannot be fetched: ",
        gone(T),
        (*BUCKET, "-S", "fetch.sha256=" + "a" * 64),
        NO_S3,
    ),
    "MLflow's address a server": tracked_at(
        "http://u:secret@127.0.0.1:9", "names a server that is already running: open http://127.0.0.1:9"
    ),
    "MLflow's address without http": tracked_at("localhost:5000", "did you mean http://localhost:5000"),
    "MLflow's address a number without http": tracked_at("127.0.0.1:5000", "did you mean http://127.0.0.1:5000"),
    "MLflow's address with a slip": tracked_at("htp://127.0.0.1:5000", "htp:// is no kind of store"),
    "MLflow's address a bucket": tracked_at("s3://bucket/runs", "s3:// is no kind of store; it has to look like http:"),
    "MLflow's address as others write PostgreSQL's": tracked_at(
        "postgres://u:secret@127.0.0.1/x", "'postgres://127.0.0.1/x': postgres:// is no kind of store, postgresql:// is"
    ),
    "MLflow's address with two slashes": tracked_at("sqlite://mlflow.db", "has too few slashes; it has to look like"),
    "MLflow's address with no slash": tracked_at("sqlite:mlflow.db", "sqlite:mlflow.db': has too few slashes"),
    "MLflow's address a folder": tracked_at("mlruns", "names a folder, where MLflow keeps no more runs"),
    "MLflow's address a folder's address": tracked_at("file:///tmp/mlruns", "names a folder"),
    "MLflow's address without a host": tracked_at("http://", "has no host, or a port that is none"),
    "MLflow's address with a port too high": tracked_at("http://127.0.0.1:99999", "or a port that is none"),
    "MLflow's address with a space": tracked_at("http://127.0.0.1:5000 ", "'http://127.0.0.1:5000 ': has no host, or"),
}

DAMAGE = {
    "token file a pipe": Case("train", "train.bin: ", pipe(TOKENS)),
    "token file a loop of links": Case("train", "train.bin: ", link(TOKENS, "train.bin")),
    "tokenizer not UTF-8": Case("train", "tokenizer.json", put(TOKENIZER, b'{"kind": "\xff"}')),
    "tokenizer nested without end": Case("train", "tokenizer.json", put(TOKENIZER, b"[" * 100_000)),
    "model a pipe": Case("sample", "models/model.pth: ", pipe(M)),
    "model a loop of links": Case("sample", "models/model.pth: ", link(M, "model.pth")),
    "history not UTF-8": Case("evaluate", "metrics/history.csv", put("metrics/history.csv", b"\xff\xfe")),
    "history empty": Case("evaluate", "metrics/history.csv", put("metrics/history.csv", b"")),
    "a pipeline that is no YAML": Case("train", "dvc.yaml: not valid YAML", put("dvc.yaml", b"stages: [")),
    "a pipeline without the stage": Case("train", "dvc.yaml: has no stage train", put("dvc.yaml", b"stages: {}\n")),
    "a pipeline with other deps": Case("train", "dvc.yaml: ", put("dvc.yaml", b"stages: {train: {cmd: x, deps: 3}}\n")),
}

LINES = {
    "no command": Case("", "Missing command; see --help"),
    "an unknown command": Case("tarin", "No such command 'tarin'"),
    "an unknown option": Case("train", "No such option: --paramz", nothing, ("--paramz", "x")),
    "an option without its value": Case("train", "Option '--params' requires an argument", nothing, ("--params",)),
    "an argument too many": Case("train", "unexpected extra argument", nothing, ("now",)),
    "-S without a value": Case("train", "Option '-S' requires an argument", nothing, ("-S",)),
    "-S without a section": Case("train", "-S seed=1: has to be section.key=value, such as", nothing, ("-S", "seed=1")),
    "-S without =": Case("train", "-S train.seed: has to be section.key=value", nothing, ("-S", "train.seed")),
    "-S of an unknown key": Case("train", "train.sed: unknown key, did you mean seed?", nothing, ("-S", "train.sed=1")),
    "-S of an unknown section": Case(
        "train", "tran: unknown section, did you mean train?", nothing, ("-S", "tran.seed=1")
    ),
    "-S that is not YAML": Case("train", "the value is not valid YAML", nothing, ("-S", "train.seed=[1")),
    "-S of another type": Case("train", "train.seed = 'x': has to be a whole number", nothing, ("-S", "train.seed=x")),
    "a port that is no number": Case("ui", "Invalid value for '--port'", nothing, ("--port", "x")),
    "port 0": Case("ui", "it has to be greater than or equal to 1", nothing, ("--port", "0")),
    "port 70000": Case("ui", "it has to be less than or equal to 65535", nothing, ("--port", "70000")),
    "out is a file, prepare": Case(
        "prepare", "--out params.yaml: params.yaml is not a folder; move it away", nothing, ("--out", "params.yaml")
    ),
    "out is a file, train": Case(
        "train", "--out params.yaml: params.yaml is not a folder", nothing, ("--out", "params.yaml")
    ),
    "out is a file, evaluate": Case("evaluate", "params.yaml is not a folder", nothing, ("--out", "params.yaml")),
    "out is a file, sample": Case("sample", "params.yaml is not a folder", nothing, ("--out", "params.yaml")),
    "out is a file, fetch": Case("fetch", "params.yaml is not a folder", nothing, ("--out", "params.yaml")),
    "out is below a file": Case(
        "train", "--out params.yaml/x: params.yaml is not a folder", nothing, ("--out", "params.yaml/x")
    ),
    "a file where metrics go": Case("prepare", "metrics is not a folder; move it away", as_file("metrics")),
    "a file where the samples go": Case("sample", "samples is not a folder; move it away", as_file("samples")),
    "a folder where the sample goes": Case(
        "sample", "samples/samples.txt: Is a directory; move away the folder", as_folder("samples/samples.txt")
    ),
    "out without end": Case("prepare", "File name too long; give it a shorter name", nothing, ("--out", "x" * 300)),
}

EXPORTS = {
    "export without a format": Case("export", "Missing argument 'FORMAT'", nothing, ("--out", "x")),
    "export without a folder": Case("export", "Missing option '--out'", nothing, ("onnx",)),
    "export to an unknown format": Case(
        "export", "pdf: no such format; there are huggingface, safetensors, onnx, gguf", nothing, ("pdf", "--out", "x")
    ),
    "export into a folder in use": Case(
        "export", "--out data: is there already; name a folder that is not", nothing, ("onnx", "--out", "data")
    ),
    "export onto a file": Case(
        "export", "--out params.yaml: is there already", nothing, ("onnx", "--out", "params.yaml")
    ),
    "export below a file": Case(
        "export",
        "params.yaml/x: cannot be made: Not a directory; name another place",
        nothing,
        ("gguf", "--out", "params.yaml/x"),
    ),
    "export of no model": Case(
        "export", "models/model.pth: no such model; train one", gone(M), ("safetensors", "--out", "x")
    ),
    "export of another model that is missing": Case(
        "export", "x.pth: no such model", nothing, ("huggingface", "--model", "x.pth", "--out", "x")
    ),
    "export of a damaged model": Case("export", "not a model file, or damaged", cut(M, 5000), ("onnx", "--out", "x")),
    "export of a decoder bias": Case(
        "export",
        "do not fit the 8 of the last norm; train with -S model.decoder_bias=false, or export onnx or safetensors",
        nothing,
        ("huggingface", "--out", "x/y"),
    ),
    "export of settings that llama.cpp has not": Case(
        "export", "model.norm = post, model.position = learned, model.activation", nothing, ("gguf", "--out", "x")
    ),
    "export of a text in the weights' place": Case(
        "export", "not a model file", put(M, TEXT.encode()), ("gguf", "--out", "x")
    ),
}

SEARCH: dict[str, Any] = {
    "study": "sizes",
    "objective": "val_loss",
    "trials": 1,
    "seed": 1,
    "pruner": "none",
    "pruner_startup": 5,
    "pruner_warmup": 0,
    "space": {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
}


def search(fragment: str, **changes: Any) -> Case:
    """A search whose file has some keys changed; one that is None is left out."""
    values = {key: value for key, value in {**SEARCH, **changes}.items() if value is not None}
    return Case("tune", f"tune.yaml: {fragment}", put("tune.yaml", yaml.safe_dump(values).encode()))


def over(fragment: str, space: Any) -> Case:
    """A search over another space."""
    return search(fragment, space=space)


def begun(folder: Path) -> None:
    """Begin the study, and end it."""
    put("tune.yaml", yaml.safe_dump(SEARCH).encode())(folder)
    assert run(folder, "tune") == 0


def stored_at(address: str, fragment: str) -> Case:
    return Case("tune", fragment, put("tune.yaml", yaml.safe_dump(SEARCH).encode()), (), {"OPTUNA_STORAGE": address})


def begun_with(file: dict[str, Any], fragment: str, *breaks: Break) -> Case:
    """A study that was begun, and then something changed."""
    return Case("tune", fragment, both(begun, put("tune.yaml", yaml.safe_dump({**SEARCH, **file}).encode()), *breaks))


LR = "train.learning_rate"
SEARCHES = {
    "no file of a search": Case("tune", "no such file; `gptmodel tune --example > tune.yaml` writes one to begin with"),
    "a search that is no YAML": Case("tune", "tune.yaml: not valid YAML", put("tune.yaml", b"space: [")),
    "a search that is a list": Case("tune", "tune.yaml: has to hold keys and values", put("tune.yaml", b"[1, 2]")),
    "a search without a key": search("seed: missing", seed=None),
    "a search with an unknown key": search("trails: unknown key, did you mean trials?", trails=3),
    "a search of no trials": search("trials = 0: has to be above 0", trials=0),
    "a search for another objective": search("objective = 'accuracy': has to be 'val_loss'", objective="accuracy"),
    "a search with an unknown pruner": search("pruner = 'mean': has to be 'median' or 'none'", pruner="mean"),
    "a study's name a path": search("study = '../x': has to begin with a letter", study="../x"),
    "a study's name an age": search("study = '30d': has to begin with a letter", study="30d"),
    "a search over nothing": over("space = {}: has to hold the settings to search over, such as", {}),
    "a space that is a list": over("space = ['x']: has to hold the settings", ["x"]),
    "a space of an unknown key": over(
        "space.train.lerning_rate: unknown key, did you mean learning_rate?", {"train.lerning_rate": [1, 2]}
    ),
    "a space of a key without its section": over(
        "space.learning_rate: name it with its section, train.learning_rate", {"learning_rate": [0.1, 0.2]}
    ),
    "a space of another section": over(
        "space.prepare.tokenizer: only settings of model and train can be searched over",
        {"prepare.tokenizer": ["char", "byte"]},
    ),
    "a space of the wrong form": over(
        "space.model.n_layer: has to be a list of choices, such as", {"model.n_layer": 3}
    ),
    "a choice of one": over("space.model.n_layer: has to have two choices or more", {"model.n_layer": [3]}),
    "a choice twice": over("space.model.n_layer: has a choice twice", {"model.n_layer": [3, 4, 3]}),
    "a choice of the wrong type": over(
        "space.model.n_layer = 'x': has to be a whole number", {"model.n_layer": [1, "x"]}
    ),
    "a choice that no model has": over("space.model.norm = 'mid': has to be", {"model.norm": ["pre", "mid"]}),
    "a range without an end": over(f"space.{LR}.high: missing", {LR: {"low": 1e-4}}),
    "a range with an unknown key": over(
        f"space.{LR}.lo: unknown key, did you mean low", {LR: {"low": 1, "high": 2, "lo": 1}}
    ),
    "a range the wrong way": over(
        f"space.{LR}: low = 0.01 has to be below high = 0.001", {LR: {"low": 0.01, "high": 1e-3}}
    ),
    "a range in factors from 0": over(
        "space.model.dropout: low = 0 has to be above 0 where log is true",
        {"model.dropout": {"low": 0, "high": 0.5, "log": True}},
    ),
    "a range with an end that cannot be": over(
        "space.model.dropout = 1.5: has to be below 1", {"model.dropout": {"low": 0.0, "high": 1.5}}
    ),
    "a range of whole numbers with half a one": over(
        "space.model.n_layer = 1.5: has to be a whole number", {"model.n_layer": {"low": 1.5, "high": 4}}
    ),
    "a range of words": over(
        "space.model.norm: is no number, so it has no range; give a list of choices",
        {"model.norm": {"low": 1, "high": 2}},
    ),
    "a range with a step and factors": over(
        f"space.{LR}: has a step, and log is true; drop one", {LR: {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}}
    ),
    "a range with a step too long": over(
        f"space.{LR}: step = 3 has to be above 0 and at most high - low", {LR: {"low": 0.1, "high": 0.5, "step": 3}}
    ),
    "a range of whole numbers with half a step": over(
        "space.model.n_layer: step = 0.5 has to be a whole number",
        {"model.n_layer": {"low": 1, "high": 4, "step": 0.5}},
    ),
    "three faults of a search at once": search("trials = -1", trials=-1, seed=-2, space={"train.x": [1, 2]}),
    "a search on no data": Case(
        "tune", "data/prepared", both(put("tune.yaml", yaml.safe_dump(SEARCH).encode()), gone(TOKENS))
    ),
    "a search from wrong settings": Case(
        "tune",
        "params.yaml: model.n_head = 3: does not divide",
        both(put("tune.yaml", yaml.safe_dump(SEARCH).encode()), params(model={"n_head": 3})),
    ),
    "the best of a study that was not begun": Case(
        "tune", "have none named sizes yet", put("tune.yaml", yaml.safe_dump(SEARCH).encode()), ("--best",)
    ),
    "the table of a study that was not begun": Case(
        "tune", "have none named sizes yet", put("tune.yaml", yaml.safe_dump(SEARCH).encode()), ("--status",)
    ),
    "the best and the table": Case("tune", "give one of them", nothing, ("--best", "--status")),
    "studies at no address": stored_at("studies", "OPTUNA_STORAGE = 'studies': is no address of studies; it has to"),
    "studies at a web address": stored_at("http://u:secret@127.0.0.1:9/x", "'http://127.0.0.1:9/x': is no address of"),
    "studies where no server is": stored_at(
        "postgresql://u:secret@127.0.0.1:9/studies",
        "postgresql://127.0.0.1:9/studies: ",  # without psycopg it says what to install
    ),
    "studies in a folder that is not there": stored_at(
        "sqlite:////no-such-folder/studies.db", "unable to open database file; nothing is lost"
    ),
    "studies in a file that is no database": Case(
        "tune",
        "studies.db: file is not a database; move that file away, and its studies begin anew",
        both(put("tune.yaml", yaml.safe_dump(SEARCH).encode()), put("studies.db", TEXT.encode())),
    ),
    "another space in a study": begun_with(
        {"space": {LR: [0.1, 0.2]}}, "study sizes: was begun with another `space` in its file; write it as it was, or"
    ),
    "other settings in a study": begun_with(
        {}, "was begun with train.batch_size = 3, and params.yaml has 5; set it back", params(train={"batch_size": 5})
    ),
    "other data in a study": begun_with(
        {},
        "was begun with other data, and data/prepared differs; prepare the same text",
        prepared_anew(f"{TEXT}another text"),
    ),
    "the best by another space": Case(
        "tune",
        "was begun with another `seed` in its file",
        both(begun, put("tune.yaml", yaml.safe_dump({**SEARCH, "seed": 2}).encode())),
        ("--best",),
    ),
}

GPT2: dict[str, Any] = {"model_type": "gpt2", "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
NO_TENSORS = b"\x02" + b"\0" * 7 + b"{}"


def gpt2(weights: str = "model.safetensors", content: bytes = NO_TENSORS, **config: Any) -> Break:
    """A folder that says that it holds a GPT-2."""
    values = json.dumps(GPT2 | {"vocab_size": 50_257} | config).encode()
    return both(put("gpt2/config.json", values), put(f"gpt2/{weights}", content))


def imported(fragment: str, broken: Break = nothing, *arguments: str) -> Case:
    return Case("import", fragment, broken, arguments or ("gpt2", "--out", "x.pth"))


IMPORTS = {
    "import without a folder": Case("import", "Missing argument 'DIR'"),
    "import of a folder that is missing": imported("gpt2: no such folder; name one that has config.json and model.saf"),
    "import of an empty folder": imported("gpt2/config.json: no such file; name a folder that", as_folder("gpt2")),
    "import onto a file": imported("--out params.yaml: is there already", gpt2(), "gpt2", "--out", "params.yaml"),
    "import of a config that is a list": imported("config.json: not a JSON object", put("gpt2/config.json", b"[]")),
    "import of a config that is cut": imported("config.json: not a JSON object", put("gpt2/config.json", b"{")),
    "import of another model": imported("model_type = llama: only gpt2 can be imported", gpt2(model_type="llama")),
    "import of another width": imported("n_inner = 16: only four times n_embd, 32, can be", gpt2(n_inner=16)),
    "import of another activation": imported("activation_function = silu: only", gpt2(activation_function="silu")),
    "import of another scale": imported(
        "scale_attn_by_inverse_layer_idx = true: only false can be", gpt2(scale_attn_by_inverse_layer_idx=True)
    ),
    "import of heads that do not fit": imported("n_head = 3: does not divide n_embd = 8", gpt2(n_head=3)),
    "import without weights": imported(
        "gpt2/model.safetensors: no such file; name a folder that has it", gpt2("flax_model.msgpack")
    ),
    "import of a pickle": imported("pytorch_model.bin: its weights are in a file that can", gpt2("pytorch_model.bin")),
    "import of several files": imported(
        "model.safetensors.index.json: its weights are in several files; save it", gpt2("model.safetensors.index.json")
    ),
    "import of a text in the weights' place": imported(
        "model.safetensors: no safetensors file, or damaged", gpt2(content=TEXT.encode())
    ),
    "import without a tokenizer": imported("has neither tokenizer.json nor vocab.json, so nothing says", gpt2()),
    "import of another vocabulary": imported(
        "gpt2/vocab.json: its tokens are not those of GPT-2", both(gpt2(), put("gpt2/vocab.json", b'{"a": 0}'))
    ),
}

TABLE = {
    **PARAMS,
    **TEXTS,
    **VOCABULARIES,
    **PREPARED,
    **MODELS,
    **PROMPTS,
    **FETCHES,
    **FOLDERS,
    **STARTS,
    **SPLITS,
    **ELSEWHERE,
    **DAMAGE,
    **LINES,
    **EXPORTS,
    **SEARCHES,
    **IMPORTS,
}


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the project that one case may break."""
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    threads = torch.get_num_threads()
    yield folder
    torch.set_num_threads(threads)


def test_the_table_is_long() -> None:
    parts = (PARAMS, TEXTS, VOCABULARIES, PREPARED, MODELS, PROMPTS, FETCHES, FOLDERS, STARTS, SPLITS)
    parts += (ELSEWHERE, DAMAGE, LINES, EXPORTS, SEARCHES, IMPORTS)
    assert len(TABLE) == sum(map(len, parts))
    assert len(TABLE) >= 260


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_is_one_line_and_nothing_is_lost(
    copy: Path, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = TABLE[name]
    case.broken(copy)
    capfd.readouterr()
    before = tree(copy)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    for variable, value in case.environment.items():
        monkeypatch.setenv(variable, value)
    status = run(copy, *filter(None, [case.command]), *case.arguments)
    out, err = capfd.readouterr()
    last = err.splitlines()[-1]
    assert status == 2, err
    assert last.startswith("error: ")
    assert case.fragment in last
    assert err.count("error: ") == 1
    assert "Traceback" not in out + err
    assert "secret" not in out + err
    assert name == "a folder where the sample goes" or not out  # that one shows what it drew before it stores it
    assert tree(copy) == before


def test_all_faults_of_a_params_file_are_in_the_line(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TABLE["three faults at once"].broken(copy)
    assert run(copy, "train") == 2
    line = capfd.readouterr().err
    assert all(fault in line for fault in ("train.seed = -1", "model.n_embd = 0", "sample.top_p = 2.0"))


def test_a_port_that_is_taken(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert run(copy, "ui", "--port", str(port)) == 2
    assert f"error: --port {port}: " in capfd.readouterr().err


@pytest.mark.parametrize("name", ["key unknown", "text not UTF-8", "model cut", "prompt empty", "an unknown option"])
def test_as_a_process_of_its_own(copy: Path, name: str) -> None:
    case = TABLE[name]
    case.broken(copy)
    before = tree(copy)
    result = subprocess.run(
        [sys.executable, "-m", f"stages.{case.command}", *case.arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "none"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert case.fragment in result.stderr
    assert tree(copy) == before
