"""Every key of params.yaml does something: each has a case here that shows what it changes.

A key that is added without a case fails the first test. The runtime keys have cases that show they change no result.
"""

import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from model_helpers import batch, language_model, scramble, small_model, small_params, small_values
from training_helpers import trained, varied

from gptmodel.checkpoint.model_file import save_model
from gptmodel.compute.compiler import find_compiler
from gptmodel.compute.place import Place, is_deterministic, pick_dtype
from gptmodel.config import Params
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.data.sources import fetch_text
from gptmodel.errors import GptModelError
from gptmodel.evaluation.diagnosis import diagnose
from gptmodel.evaluation.history import kept_row
from gptmodel.evaluation.loss import scored_blocks
from gptmodel.project.layout import Layout
from gptmodel.sampling.generate import sample_pieces
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.tokenizers.char import CharTokenizer
from gptmodel.tracking.tracker import NullTracker
from gptmodel.training.initial import initial_model

Changes = dict[str, Any]
MUON: Changes = {"optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.9}
# key: (settings of its section, or of others, on both sides, the value on one side, the value on the other)
CASES: dict[str, tuple[Changes, Any, Any]] = {
    "model.block_size": ({}, 8, 4),
    "model.n_embd": ({}, 8, 16),
    "model.n_head": ({}, 2, 4),
    "model.n_layer": ({}, 2, 1),
    "model.dropout": ({}, 0.0, 0.2),
    "model.norm": ({}, "post", "pre"),
    "model.norm_type": ({}, "layernorm", "rmsnorm"),
    "model.position": ({}, "none", "rotary"),  # learned has other weights, so it need not be shown
    "model.activation": ({}, "relu", "gelu"),
    "model.qkv_bias": ({}, False, True),
    "model.scale_embedding": ({}, True, False),
    "model.tie_embeddings": ({}, False, True),
    "model.decoder_bias": ({}, True, False),
    "model.qk_norm": ({}, False, True),
    "model.attention_dropout": ({}, None, 0.3),
    "model.zero_init": ({}, False, True),
    "model.logit_softcap": ({}, 0.0, 3.0),
    "model.ngram_orders": ({}, [], [2]),
    "model.ngram_dropout": ({"ngram_orders": [2]}, 0.0, 0.5),
    "model.kneser_ney": ({"kneser_ney_share": 0.3}, 0, 2),
    "model.kneser_ney_share": ({"kneser_ney": 2}, 0.2, 0.3),
    "train.batch_size": ({}, 3, 4),
    "train.max_iters": ({}, 6, 5),
    "train.patience": ({"eval_interval": 1, "learning_rate": 0.3}, None, 1),
    "train.keep": ({"eval_interval": 1, "learning_rate": 0.3}, "last", "best"),
    "train.teacher_order": ({"teacher_share": 0.4}, 0, 2),
    "train.teacher_share": ({"teacher_order": 2}, 0.3, 0.4),
    "train.init_from": ({}, None, "start.pth"),
    "train.eval_interval": ({}, 3, 2),
    "train.eval_iters": ({}, 2, 1),
    "train.optimizer": ({}, "adamw", "sgd"),
    "train.ngram_lr": ({"model": {"ngram_orders": [2]}}, None, 0.02),
    "train.ngram_floor": ({"model": {"ngram_orders": [2]}}, 0.0, 1.0),
    "train.muon_lr": (MUON, 0.02, 0.03),
    "train.muon_momentum": (MUON, 0.9, 0.95),
    "train.learning_rate": ({}, 0.01, 0.011),
    "train.lr_schedule": ({}, "constant", "cosine"),
    "train.min_lr": ({"lr_schedule": "linear"}, 0.0, 0.001),
    "train.warmup_iters": ({}, 0, 2),
    "train.weight_decay": ({}, 0.01, 0.0),
    "train.beta1": ({}, 0.9, 0.8),
    "train.beta2": ({}, 0.99, 0.9),
    "train.grad_clip": ({"optimizer": "sgd"}, 0.0, 0.1),
    "train.seed": ({}, 7, 8),
    "train.parts": ({}, 1, 2),
    "train.shard": ({}, False, True),
    "train.device": ({}, "cpu", "mps" if not torch.backends.mps.is_available() else "auto"),
    "train.dtype": ({}, "float32", "bfloat16"),
    "train.deterministic": ({}, True, False),
    "train.compile": ({}, False, True),
    "evaluate.overfit_gap": ({}, 0.1, 0.2),
    "evaluate.max_tokens": ({}, None, 100),
    "evaluate.threads": ({}, 1, 2),
    "evaluate.device": ({}, "cpu", "mps" if not torch.backends.mps.is_available() else "auto"),
    "sample.prompt": ({}, "a", "b"),
    "sample.max_new_tokens": ({}, 12, 13),
    "sample.num_samples": ({}, 2, 3),
    "sample.temperature": ({}, 1.0, 5.0),
    "sample.top_k": ({"temperature": 5.0}, 0, 1),
    "sample.top_p": ({"temperature": 5.0}, 1.0, 0.2),
    "sample.stop": ({}, [], ["e"]),
    "sample.past_block": ({"temperature": 5.0, "max_new_tokens": 60}, "crop", "shift"),
    "sample.seed": ({}, 7, 8),
    "sample.on_unknown": ({"prompt": "a!"}, "error", "replace"),
    "sample.threads": ({}, 1, 2),
    "sample.device": ({}, "cpu", "mps" if not torch.backends.mps.is_available() else "auto"),
    "prepare.tokenizer": ({}, "char", "byte"),
    "prepare.vocab_size": ({"tokenizer": "bpe"}, 257, 258),
    "prepare.train_fraction": ({}, 0.9, 0.8),
    "prepare.val_source": ({}, None, "val.txt"),
    "prepare.test_fraction": ({}, 0.0, 0.05),
    "fetch.source": ({}, "own", "missing.txt"),
    "fetch.sha256": ({"source": "input.txt"}, None, "0" * 64),
    "fetch.separator": ({"source": "texts"}, "", " "),
    "fetch.max_gb": ({"source": "memory://x/text", "sha256": hashlib.sha256(b"mine too").hexdigest()}, 1.0, 1e-9),
}
TRAINED = {
    "dropout",
    "attention_dropout",
    "ngram_dropout",
    "zero_init",
    "kneser_ney",
    "kneser_ney_share",
}  # keys of the model that show only in training
MADE: list[str] = []
HARMLESS = {
    "snapshot_seconds": (1e9, 1e-9),
    "progress": ("none", "lines"),
    "mlflow": (False, True),
    "experiment": ("a", "b"),
    "threads": (1, 2),
    "restarts": (0, 3),
    "rank_timeout": (600.0, 1.0),
}
IN_PROCESSES = {"processes", "launcher"}
"""Of `runtime`, too: tests/resume/test_processes.py compares the bytes."""


def test_every_key_has_a_case_and_every_case_a_key() -> None:
    keys = {name: list(field.annotation.model_fields) for name, field in Params.model_fields.items()}  # type: ignore[union-attr]
    assert set(CASES) == {f"{section}.{key}" for section in keys if section != "runtime" for key in keys[section]}
    assert set(HARMLESS) | IN_PROCESSES == set(keys["runtime"])


def outcome(function: Callable[..., Any], *args: Any) -> str:
    """What a call gives, or the error it ends with, as text."""
    try:
        return str(function(*args))
    except GptModelError as error:
        return f"{type(error).__name__}: {error}"


def effect_on_a_machine(section: str, key: str, params: Params) -> str:
    """What these settings come to: one process has no shards."""
    if key == "deterministic":
        return str(is_deterministic(params.train, torch.device("cuda")))
    if key == "compile":
        return str(find_compiler(params, torch.device("cpu")))
    section_params = getattr(params, section)
    return outcome(lambda: (Place.of(params, section).crew.size, torch.get_num_threads(), section_params.device))


@cache  # the same small settings stand on one side of most cases
def effect_of_training(params: Params) -> str:
    """Weights and history of a short run."""
    values = params.model_dump(mode="json")
    dtype = pick_dtype(params.train.dtype, torch.device("cpu"))

    state = trained(
        changed=lambda run: varied(run, dtype=dtype, parts=params.train.parts),
        model=values["model"],
        train=values["train"],
    )
    if params.train.keep == "best":
        return str(kept_row(state.history, "best"))
    rows = [(row.iteration, row.tokens, row.learning_rate, row.train_loss, row.val_loss) for row in state.history]
    return f"{rows} {[tensor.tolist() for tensor in state.model.transformer.state_dict().values()]}"


def effect(section: str, key: str, params: Params, folder: Path) -> str:  # noqa: PLR0911  # a case each
    """What can be observed of a setting."""
    if key in ("threads", "device", "shard", "deterministic", "compile"):
        return effect_on_a_machine(section, key, params)
    if section == "model" and key not in TRAINED:  # equal random weights, so that what differs is the arithmetic
        model = scramble(small_model(**params.model.model_dump(mode="json")))
        return str(model(batch(2, 4)).tolist())
    if key == "init_from":
        tokenizer = CharTokenizer("abcdefghij ")
        save_model(folder / "start.pth", language_model(small_model(seed=5), tokenizer=tokenizer), {})
        return str(initial_model(params, tokenizer, folder))
    if section in ("model", "train"):
        return effect_of_training(params)
    if key == "max_tokens":
        return str(scored_blocks(params.evaluate.max_tokens, params.model.block_size))
    if section == "evaluate":
        return diagnose(1.7, 2.0, 3.0, params.evaluate.overfit_gap).verdict
    if section == "sample":
        model = language_model(scramble(small_model(vocab_size=11)), tokenizer=CharTokenizer("abcdefghij "))
        pieces = sample_pieces(IncrementalModel(model), params.sample.prompt, params.sample)
        return outcome(lambda: ["".join(of_one) for of_one in zip(*pieces, strict=True)])
    (folder / "input.txt").write_text("hello, world\n" * 9, encoding="utf-8")
    (folder / "val.txt").write_text("world", encoding="utf-8")
    if section == "fetch":
        (folder / "data").mkdir(exist_ok=True)
        text = folder / "data" / "input.txt"
        (folder / "texts").mkdir(exist_ok=True)
        for name in ("a.txt", "b.txt"):
            (folder / "texts" / name).write_text(name, encoding="utf-8")
        if params.fetch.source == "texts" or "://" in params.fetch.source:  # would not replace a text that is there
            text.unlink(missing_ok=True)
            MemoryFileSystem().pipe("/x/text", b"mine too")
        else:
            text.write_text("mine", encoding="utf-8")
        return outcome(fetch_text, params.fetch, Layout(folder), folder, lambda _received, _total: None)
    prepare(folder / "input.txt", folder / "prepared", params.prepare, folder)
    return str(load_prepared(folder / "prepared").digests())


@pytest.mark.parametrize("name", CASES)
def test_a_setting_changes_what_can_be_observed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section, key = name.split(".")
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # who asks for a compiler is told so, and nothing is compiled
    common, one, other = CASES[name]
    elsewhere = {name: changes for name, changes in common.items() if name in Params.model_fields}
    section_settings = {name: value for name, value in common.items() if name not in elsewhere}
    sides = [small_params(**elsewhere, **{section: {**section_settings, key: value}}) for value in (one, other)]
    first, again, second = (effect(section, key, params, tmp_path) for params in (sides[0], sides[0], sides[1]))
    assert first == again
    assert first != second


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with prepared data, and a tracker in MLflow's place that remembers with what it was made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "input.txt").write_text("hello, world\n" * 40, encoding="utf-8")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small_values()), encoding="utf-8")
    prepare(Path("data/input.txt"), Path("data/prepared"), small_params().prepare)
    stand_in = ModuleType("gptmodel.tracking.mlflow_tracker")

    def tracker(_root: Path, experiment: str, _key: str, _name: str) -> NullTracker:
        MADE.append(experiment)
        return NullTracker()

    MADE.clear()
    stand_in.start_run = tracker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gptmodel.tracking.mlflow_tracker", stand_in)
    return tmp_path


def model_bytes(project: Path, *settings: str) -> bytes:
    """model.pth of the train stage."""
    from stages.train import train

    train(params_file=Path("params.yaml"), settings=["model.dropout=0.1", *settings], out=Path())
    return (project / "models" / "model.pth").read_bytes()


def test_a_runtime_setting_changes_no_byte_of_the_model(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = model_bytes(project)
    assert MADE == []
    for key, (one, other) in HARMLESS.items():
        for value in (one, other):
            settings = [f"runtime.{key}={yaml.safe_dump(value).split()[0]}"]
            if key == "experiment":
                settings.append("runtime.mlflow=true")
            assert model_bytes(project, *settings) == plain, settings
    assert MADE == ["test", "a", "b"]  # mlflow: true, and the two experiments
    assert "val" in capsys.readouterr().out
    assert model_bytes(project, "train.seed=8") != plain
