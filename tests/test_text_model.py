"""`gptmodel.load`: what the sample stage writes, from three lines of Python; wrong arguments; what an import costs."""

import copy
import inspect
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from model_helpers import ROOT, language_model, scramble, small_model, small_values

import gptmodel
from gptmodel.checkpoint.model_file import save_model
from gptmodel.config import SampleParams
from gptmodel.errors import CheckpointError, ConfigError, DataError, GptModelError
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.text_model import TextModel
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer("abcdefghij\n")
SETTINGS: list[dict[str, Any]] = [
    {"num_samples": 1, "max_new_tokens": 30},
    {"num_samples": 3, "max_new_tokens": 20, "temperature": 1.3, "top_k": 5, "past_block": "shift", "seed": 4},
    {"num_samples": 3, "max_new_tokens": 40, "stop": ["c", "ab"]},
]


def saved(folder: Path, tokenizer: Tokenizer) -> Path:
    model = language_model(scramble(small_model(vocab_size=tokenizer.vocab_size)), tokenizer=tokenizer)
    path = folder / f"{tokenizer.kind}.pth"
    save_model(path, model, {"platform": {"device": "cpu"}})
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return gptmodel.load(saved(tmp_path_factory.mktemp("model"), LETTERS))


def test_the_weights_are_copied_once_for_all_texts_and_again_when_they_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = gptmodel.load(saved(tmp_path, LETTERS))
    made = []
    make = IncrementalModel.__init__
    monkeypatch.setattr(IncrementalModel, "__init__", lambda *args: made.append(1) or make(*args))
    first = model.generate("ab", num_samples=2)
    assert model.generate("ab", num_samples=2) == first
    assert "".join(model.stream("ab", max_new_tokens=3))
    assert len(made) == 1
    for changed in (lambda: model.network.decoder.weight.mul_(3), model.network.double):
        with torch.no_grad():
            changed()
        assert model.generate("ab") == TextModel(model.language_model, "new").generate("ab")
    assert len(made) == 5
    assert model.generate("ab", num_samples=2) != first


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()], ids=lambda tokenizer: tokenizer.kind)
def test_the_texts_are_those_of_the_sample_stage(
    tokenizer: Tokenizer, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.sample import sample

    path = saved(tmp_path, tokenizer)
    values = small_values()
    values["sample"] = SampleParams.defaults() | settings | {"device": "cpu"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    sample(word="ab", params_file=Path("params.yaml"), settings=None, out=Path("out"), model_file=path)
    written = (tmp_path / "out" / "samples" / "samples.txt").read_bytes().decode()
    texts = gptmodel.load(path).generate("ab", **settings)
    several = texts if isinstance(texts, list) else [texts]
    assert written == "\n\n".join(f"--- sample {n} of {len(several)} ---\n{t}" for n, t in enumerate(several, 1)) + "\n"
    if settings["num_samples"] == 1:
        assert "".join(gptmodel.load(path).stream("ab", max_new_tokens=30)) == texts


def test_a_stream_is_the_text_as_it_grows(model: TextModel) -> None:
    pieces = list(model.stream("ab", max_new_tokens=30, stop="j"))
    assert "".join(pieces) == model.generate("ab", max_new_tokens=30, stop=["j"])
    assert pieces[0] == "ab"
    assert "j" not in "".join(pieces)
    assert model.generate() == model.generate("\n")
    assert model.generate("ab") == model.generate("ab")
    assert model.generate("ab") != model.generate("ab", seed=1)


def test_the_defaults_are_those_of_the_settings() -> None:
    defaults = SampleParams.defaults() | {"max_new_tokens": 200, "num_samples": 1, "stop": None}
    for method in (TextModel.generate, TextModel.stream):
        for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
            assert parameter.default == defaults[name], name


def test_what_a_model_says_of_itself(model: TextModel) -> None:
    assert isinstance(model.network, TransformerModel)
    assert model.params.block_size == 8
    assert model.tokenizer.encode("a") == [LETTERS.stoi["a"]]
    assert model.provenance == {"platform": {"device": "cpu"}}
    assert re.fullmatch(r"TextModel\('.*char.pth': 1,[\d]+ parameters, 2 layers of 8, .*, 11 tokens\)", repr(model))
    assert model.score("abba").tokens == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"temperature": -1.0}, "temperature = -1.0: has to be at least 0"),
        ({"temperature": "hot"}, "temperature = 'hot': has to be a number"),
        ({"top_p": 2.0}, "top_p = 2.0: has to be at most 1"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0: has to be above 0"),
        ({"stop": [""]}, "stop: item 1 = '': has to be a text that is not empty"),
        ({"stop": 5}, "stop = 5: has to be a text, or a list of texts"),
        ({"prompt": ""}, "prompt = '': has to be a text that is not empty"),
        ({"prompt": 5}, "prompt = 5: has to be a text; one that looks like something else needs quotes"),
        (
            {"prompt": "a\ud800"},
            "prompt = 'a\\ud800': has to be a text of whole characters, without a half such as U+D800",
        ),
        ({"seed": 1.5, "top_k": -1}, "top_k = -1: has to be at least 0; seed = 1.5: has to be a whole number"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_line(model: TextModel, arguments: dict[str, Any], line: str) -> None:
    for method in (model.generate, model.stream):
        with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
            method(**arguments)


def test_other_wrong_arguments(model: TextModel) -> None:
    for call in (model.generate, model.stream):
        with pytest.raises(TypeError, match="temprature"):
            call("ab", temprature=1.0)
        with pytest.raises(TypeError):
            call("ab", 200)
        with pytest.raises(DataError, match="'X'"):
            call("abX")
    with pytest.raises(TypeError, match="has to be a str, not int"):
        model.score(5)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no such model"):
        gptmodel.load("nowhere.pth")
    with pytest.raises(ConfigError, match="device = tpu: has to be auto, cpu, cuda or mps"):
        gptmodel.load("nowhere.pth", device="tpu")
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        gptmodel.lod  # noqa: B018
    assert "load" in dir(gptmodel)


def test_a_run_where_there_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(GptModelError, match=r"runs:/abc: there is no MLflow store at .*mlflow.db; run this in"):
        gptmodel.load("runs:/abc")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_takes_no_library_and_no_time() -> None:
    code = (
        "import sys, time\n"
        "before, began = set(sys.modules), time.process_time()\n"
        "import gptmodel\n"
        "seconds = time.process_time() - began\n"
        "libraries = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "assert libraries == {'gptmodel'}, libraries\n"
        "assert seconds < 0.05, seconds\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_lines_of_the_documents_run_where_a_model_is(tmp_path: Path) -> None:
    save_model(tmp_path / "models" / "model.pth", ascii_model(), {})
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = [
        block
        for page in pages
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if "gptmodel.load(" in block
    ]
    assert blocks
    for code in set(blocks):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("ROMEO:")


def ascii_model() -> LanguageModel:
    tokenizer = CharTokenizer("\n" + "".join(map(chr, range(32, 127))))
    return language_model(scramble(small_model(vocab_size=tokenizer.vocab_size)), tokenizer=tokenizer)


def test_processes_that_are_forked_from_one_with_a_model_load_and_use_models(tmp_path: Path) -> None:
    """What a pool of processes does on Linux. In a child GNU's OpenMP waits for ever for the threads of its parent."""
    program = (
        "import concurrent.futures as futures, faulthandler, multiprocessing, sys\n"
        "import torch, gptmodel\n"
        "torch.set_num_threads(2)\n"
        "model = gptmodel.load(sys.argv[1])\n"
        "def text(seed):\n"
        "    torch.ones(1000, 1000).triu()\n"  # what torch shares out to its threads
        "    again = gptmodel.load(sys.argv[1])\n"
        "    loss = round(again.score('abcabc').loss, 4)\n"  # the last digits may be those of other threads
        "    return again.generate('ab', seed=seed), model.generate('ab', seed=seed), loss\n"
        "def in_time(seed):\n"
        "    faulthandler.dump_traceback_later(30, exit=True)\n"
        "    return text(seed)\n"
        "alone = [text(seed) for seed in range(3)]\n"
        "with futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool:\n"
        "    print(list(pool.map(in_time, range(3))) == alone)\n"
    )
    command = [sys.executable, "-c", program, str(saved(tmp_path, LETTERS))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr


def test_a_model_that_was_used_can_be_sent_to_another_process(model: TextModel) -> None:
    first, loss = model.generate("ab", num_samples=2), model.score("abcabc").loss
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.generate("ab", num_samples=2) == first
        assert again.score("abcabc").loss == loss
        assert again.tokenizer.digest == model.tokenizer.digest
