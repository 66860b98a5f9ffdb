"""A training that starts from the weights of a model: of the same tokenizer and sizes only, and known by its digest."""

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from model_helpers import equal_states, language_model, scramble, small_model, small_params
from torch import Tensor, nn

from gptmodel.checkpoint.model_file import load_model, save_model
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.errors import ConfigError
from gptmodel.files import digest
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.training.run import TrainingRun

COUNTED = {"kneser_ney": 2, "kneser_ney_share": 0.3}


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return prepared(tmp_path, "hello, world\n" * 40)


def prepared(folder: Path, text: str, **changes: Any) -> PreparedData:
    (folder / "input.txt").write_text(text, encoding="utf-8")
    prepare(folder / "input.txt", folder / "prepared", small_params(prepare=changes).prepare)
    return load_prepared(folder / "prepared")


def write_model(path: Path, tokenizer: Tokenizer, seed: int = 1, **changes: Any) -> None:
    model = scramble(small_model(vocab_size=tokenizer.vocab_size, **changes), seed)
    save_model(path, language_model(model, tokenizer=tokenizer), {})


def opened(folder: Path, data: PreparedData, name: str = "start.pth", **sections: Any) -> TrainingRun:
    sections["train"] = {**sections.get("train", {}), "init_from": name}
    with TrainingRun.open(folder / "runs", data, small_params(**sections), folder) as run:
        return run


def refused(folder: Path, data: PreparedData, name: str = "start.pth", **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        opened(folder, data, name, **sections)
    assert not (folder / "runs").exists()
    return str(caught.value)


def test_the_weights_are_those_of_the_file_and_all_else_begins_anew(tmp_path: Path, data: PreparedData) -> None:
    write_model(tmp_path / "start.pth", data.tokenizer, **COUNTED)
    model = load_model(tmp_path / "start.pth")
    run = opened(tmp_path, data, model={"dropout": 0.5, "zero_init": True, **COUNTED}, train={"keep": "best"})
    assert equal_states(run.state.model.transformer.state_dict(), model.transformer.state_dict())
    assert (run.state.iteration, run.state.history) == (0, [])
    assert ", from the weights of start.pth" in run.summary()
    assert run.state.model.counts is not None
    assert int(run.state.model.counts.counts.sum()) == len(data.train.ids)  # those of the file counted another text


def test_no_second_copy_of_the_weights_stays_as_long_as_the_training(tmp_path: Path, data: PreparedData) -> None:
    write_model(tmp_path / "start.pth", data.tokenizer)
    run = opened(tmp_path, data)
    gc.collect()
    shape, own = (data.tokenizer.vocab_size, 8), {id(weight) for weight in run.state.model.transformer.parameters()}
    tensors = [value for value in gc.get_objects() if type(value) in (Tensor, nn.Parameter) and value.shape == shape]
    assert len(tensors) == 2  # those of the encoder and the decoder
    assert {*map(id, tensors)} <= own


def test_the_run_is_known_by_the_digest_of_the_file_and_not_by_its_path(tmp_path: Path, data: PreparedData) -> None:
    write_model(tmp_path / "start.pth", data.tokenizer)
    shutil.copy(tmp_path / "start.pth", tmp_path / "copy.pth")
    first, copy = (opened(tmp_path, data, name) for name in ("start.pth", str(tmp_path / "copy.pth")))
    assert first.folder == copy.folder
    provenance = json.dumps(first.decisive.provenance())
    assert digest(tmp_path / "start.pth") in provenance
    assert "start.pth" not in provenance
    write_model(tmp_path / "start.pth", data.tokenizer, seed=2)
    assert opened(tmp_path, data).folder != first.folder
    with TrainingRun.open(tmp_path / "runs", data, small_params(), tmp_path) as plain:
        assert plain.folder != first.folder
        assert plain.decisive.provenance()["train"]["init_from"] is None


@pytest.mark.parametrize(
    ("file", "here", "said"),
    [
        ({"n_embd": 16}, {}, "has model.n_embd = 16, here 8: set these as the file has them"),
        ({}, {"norm": "pre", "n_layer": 1}, "has model.n_layer = 2, here 1; model.norm = post, here pre: set these"),
        ({"ngram_orders": [2]}, {}, "has model.ngram_orders = [2], here []: set these"),
        ({"block_size": 16, "position": "none"}, {"position": "none"}, "has model.block_size = 16, here 8: set"),
    ],
)
def test_other_sizes_are_named(
    tmp_path: Path, data: PreparedData, file: dict[str, Any], here: dict[str, Any], said: str
) -> None:
    write_model(tmp_path / "start.pth", data.tokenizer, **file)
    assert refused(tmp_path, data, model=here).startswith(f"train.init_from = start.pth: {said}")
    assert opened(tmp_path, data, model=file).state.iteration == 0  # which is what the line proposes


def test_another_tokenizer_is_named(tmp_path: Path, data: PreparedData) -> None:
    write_model(tmp_path / "start.pth", data.tokenizer)
    other = prepared(tmp_path, "hello, world!\n" * 40)
    line = "its tokenizer and that of data/prepared are both char, but not the same (10 and 11 tokens): it has a token"
    assert line in refused(tmp_path, other)
    as_bytes = prepared(tmp_path, "hello, world!\n" * 40, tokenizer="byte")
    assert "its tokenizer is char, and that of data/prepared is byte: set prepare.tokenizer to char" in refused(
        tmp_path, as_bytes
    )
    write_model(tmp_path / "start.pth", as_bytes.tokenizer)
    assert opened(tmp_path, prepared(tmp_path, "olá\n" * 90, tokenizer="byte")).state.iteration == 0


def test_a_file_that_is_not_there_is_the_trainings_own_or_no_model(tmp_path: Path, data: PreparedData) -> None:
    assert refused(tmp_path, data).endswith(": no such file; name a model.pth that is there, or set it to null")
    write_model(tmp_path / "models" / "model.pth", data.tokenizer)
    for name in ("models/model.pth", "data/../models/model.pth", str(tmp_path / "models" / "model.pth")):
        (tmp_path / "data").mkdir(exist_ok=True)
        assert ": is what the training itself writes; `cp models/model.pth start.pth`" in refused(tmp_path, data, name)
    (tmp_path / "start.pth").write_bytes(b"no model")
    line = refused(tmp_path, data)
    assert line.startswith("train.init_from = start.pth: not a model file, or damaged (")
    assert line.endswith("); let train.init_from name another file")
