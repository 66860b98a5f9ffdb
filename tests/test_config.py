"""params files: every mistake is an error of one line that names the key, the value and what would be right."""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_helpers import ROOT, model_params, small_params, small_values
from pydantic import BaseModel, ValidationError

from gptmodel.config import SECTIONS, TUTORIAL, ModelParams, Params, Sizes, Switches
from gptmodel.errors import ConfigError
from gptmodel.ignored_settings import ignored_settings
from gptmodel.params_file import checked, load_params
from gptmodel.wrong_settings import WANTED

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


def written(folder: Path, text: str | bytes | dict[str, Any]) -> Path:
    """A params file with this content."""
    path = folder / "params.yaml"
    if isinstance(text, dict):
        text = yaml.safe_dump(text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fault(folder: Path, text: str | bytes | dict[str, Any], *overrides: str) -> str:
    """The message with which a params file is refused."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as raised:
        load_params(path, overrides)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 4000
    return message


def changed(section: str, **changes: Any) -> dict[str, Any]:
    values = small_values()
    values[section].update(changes)
    return values


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *PRESETS], ids=lambda path: path.name)
def test_every_params_file_of_the_project_loads(path: Path) -> None:
    load_params(path)


def test_the_tutorial_is_a_preset_to_the_letter() -> None:
    params = load_params(ROOT / "presets" / "tutorial.yaml")
    model, train = params.model, params.train
    assert (train.batch_size, model.block_size, train.max_iters, train.eval_interval) == (16, 32, 5000, 100)
    assert (train.learning_rate, train.device, train.eval_iters) == (1e-3, "auto", 200)
    assert (model.n_embd, model.n_head, model.n_layer, model.dropout) == (64, 4, 4, 0.0)
    assert (model.position, model.norm, model.activation, model.scale_embedding) == ("none", "post", "relu", True)
    assert (train.optimizer, train.lr_schedule, train.warmup_iters, train.grad_clip) == ("sgd", "constant", 0, 0.0)
    assert (model.ngram_orders, train.weight_decay, params.prepare.train_fraction) == ((), 0.0, 0.9)


def test_a_model_is_its_sizes_its_switches_and_its_counts_in_this_order() -> None:
    counts = ["kneser_ney", "kneser_ney_share"]
    assert list(ModelParams.model_fields) == [*Sizes.model_fields, *Switches.model_fields, *counts]
    assert next(iter(Sizes.model_fields)) == "block_size"
    assert isinstance(model_params(), Switches)  # so a module can be handed one


def test_the_switches_of_the_tutorial_are_those_of_its_preset() -> None:
    model = load_params(ROOT / "presets" / "tutorial.yaml").model
    assert model.model_dump(include=set(Switches.model_fields)) == TUTORIAL.model_dump()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, changed("model", ngram_orders=[2, 3], norm="pre")))
    expected = changed("model", ngram_orders=(2, 3), norm="pre")
    expected["sample"]["stop"] = ()
    assert params.model_dump() == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1.0e-3", 0.001), ("1E-3", 0.001), ("3.e-4", 0.0003), ("2", 2.0), ("+1e+1", 10.0), ("0.5", 0.5)],
)
def test_numbers_are_numbers_however_written(tmp_path: Path, text: str, value: float) -> None:
    content = yaml.safe_dump(small_values()).replace("learning_rate: 0.01", f"learning_rate: {text}")
    for params in (
        load_params(written(tmp_path, content)),
        load_params(written(tmp_path, small_values()), [f"train.learning_rate={text}"]),
    ):
        assert params.train.learning_rate == value
        assert type(params.train.learning_rate) is float


FAULTS = [
    # section, key, value, what the message has to say
    ("train", "batch_size", 0, "train.batch_size = 0: has to be above 0"),
    ("train", "batch_size", -3, "train.batch_size = -3: has to be above 0"),
    ("train", "batch_size", 1.5, "train.batch_size = 1.5: has to be a whole number"),
    ("train", "batch_size", 16.0, "train.batch_size = 16.0: has to be a whole number"),
    ("train", "batch_size", True, "train.batch_size = true: has to be a whole number"),
    ("train", "batch_size", "16", "train.batch_size = '16': has to be a whole number"),
    ("train", "batch_size", None, "train.batch_size = null: has to be a whole number"),
    ("train", "batch_size", [16], "train.batch_size = [16]: has to be a whole number"),
    ("train", "max_iters", 0, "train.max_iters"),
    ("train", "eval_interval", 0, "train.eval_interval"),
    ("train", "eval_iters", 0, "train.eval_iters"),
    ("train", "optimizer", "adam", "train.optimizer = 'adam': has to be 'sgd', 'adamw' or 'muon'"),
    ("train", "learning_rate", 0.0, "train.learning_rate = 0.0: has to be above 0"),
    ("train", "learning_rate", True, "train.learning_rate = true: has to be a number"),
    ("train", "learning_rate", "fast", "train.learning_rate = 'fast': has to be a number"),
    ("train", "learning_rate", float("nan"), "train.learning_rate = .nan: has to be a finite number"),
    ("train", "learning_rate", float("inf"), "train.learning_rate = .inf: has to be a finite number"),
    ("train", "lr_schedule", "step", "train.lr_schedule = 'step'"),
    ("train", "min_lr", -0.1, "train.min_lr = -0.1: has to be at least 0"),
    ("train", "min_lr", 0.02, "train.min_lr = 0.02: has to be at most train.learning_rate = 0.01"),
    ("train", "warmup_iters", -1, "train.warmup_iters = -1"),
    ("train", "warmup_iters", 6, "train.warmup_iters = 6: has to be below max_iters = 6"),
    ("train", "weight_decay", -0.1, "train.weight_decay = -0.1"),
    ("train", "beta1", 1.0, "train.beta1 = 1.0: has to be below 1"),
    ("train", "beta1", None, "train.beta1 is null: optimizer adamw needs it"),
    ("train", "beta2", -0.1, "train.beta2 = -0.1"),
    ("train", "beta2", None, "train.beta2 is null: optimizer adamw needs it"),
    ("train", "grad_clip", -1.0, "train.grad_clip = -1.0"),
    ("train", "seed", -1, "train.seed = -1"),
    ("train", "seed", 2**63, f"train.seed = {2**63}: has to be below 2^63"),
    (
        "train",
        "max_iters",
        10**30,
        "train.max_iters = 1000000000000000000000000000000: has to be below 2^63",
    ),
    ("train", "parts", 0, "train.parts = 0"),
    ("train", "parts", 1025, "train.parts = 1025"),
    ("train", "device", "gpu", "train.device = 'gpu': has to be 'auto', 'cpu', 'cuda' or 'mps'"),
    ("train", "dtype", "float64", "train.dtype = 'float64'"),
    ("train", "dtype", "float16", "train.dtype = float16: needs device cuda"),
    ("train", "bach_size", 16, "train.bach_size: unknown key, did you mean batch_size?"),
    ("train", "zzz", 16, "train.zzz: unknown key; known are batch_size, max_iters"),
    ("model", "block_size", 0, "model.block_size = 0"),
    ("model", "n_embd", 0, "model.n_embd = 0"),
    ("model", "n_layer", 0, "model.n_layer = 0"),
    ("model", "n_head", 0, "model.n_head = 0"),
    ("model", "n_head", 3, "model.n_head = 3: does not divide model.n_embd = 8"),
    ("model", "dropout", 1.0, "model.dropout = 1.0: has to be below 1"),
    ("model", "dropout", -0.1, "model.dropout = -0.1"),
    ("model", "norm", "Pre", "model.norm = 'Pre': has to be 'post' or 'pre'"),
    ("model", "position", None, "model.position = null"),
    ("model", "activation", "swish", "model.activation = 'swish'"),
    ("model", "scale_embedding", 1, "model.scale_embedding = 1: has to be true or false"),
    ("model", "scale_embedding", "true", "model.scale_embedding = 'true': has to be true or false"),
    ("model", "ngram_orders", [1], "model.ngram_orders = [1]: needs distinct orders from 2 to 8"),
    ("model", "ngram_orders", [9], "model.ngram_orders = [9]: needs distinct orders from 2 to 8"),
    ("model", "ngram_orders", [2, 2], "model.ngram_orders = [2, 2]: needs distinct orders"),
    ("model", "ngram_orders", 2, "model.ngram_orders = 2: has to be a list, such as [2, 3]"),
    ("model", "ngram_orders", None, "model.ngram_orders = null"),
    ("model", "ngram_orders", ["2"], "model.ngram_orders: item 1 = '2': has to be a whole number"),
    ("model", "ngram_orders", [True], "model.ngram_orders: item 1 = true: has to be a whole number"),
    ("model", "ngram_orders", [2.0], "model.ngram_orders: item 1 = 2.0: has to be a whole number"),
    ("model", "ngram_orders", "23", "model.ngram_orders = '23'"),
    ("model", "kneser_ney", 2, "model.kneser_ney_share = 0: leaves no weight for model.kneser_ney = 2"),
    ("model", "kneser_ney", 17, "model.kneser_ney = 17: has to be at most 16"),
    ("model", "attention_dropout", 1.0, "model.attention_dropout = 1.0: has to be below 1"),
    ("train", "teacher_order", 2, "train.teacher_share = 0: leaves no weight for train.teacher_order = 2"),
    ("train", "teacher_order", 17, "train.teacher_order = 17: has to be at most 16"),
    ("train", "teacher_share", 1.0, "train.teacher_share = 1.0: has to be below 1"),
    ("model", "kneser_ney_share", 1.0, "model.kneser_ney_share = 1.0: has to be below 1"),
    ("fetch", "source", "", "fetch.source = '': has to be a text that is not empty"),
    ("sample", "prompt", "a\ud800", "has to be a text of whole characters, without a half such as U+D800"),
    ("fetch", "source", 5, "fetch.source = 5: has to be a text; one that looks like something else needs quotes"),
    ("fetch", "source", "https://a.org/?a&b", "its file; `curl -fsSL 'https://a.org/?a&b' | sha256sum` prints it"),
    ("fetch", "source", "https://u:secret@a.org/b", "its file; `curl -fsSL URL | sha256sum` prints it"),
    ("fetch", "source", "s3://a/b", "a URL needs the sha256 of its file; `sha256sum FILE`, run on a copy, prints it"),
    (
        "fetch",
        "source",
        "http://[x/y.txt",
        "fetch.source = 'http://[x/y.txt': is no address; write it as a browser shows",
    ),
    ("fetch", "source", "http://u:secret@[x/y", "fetch.source = 'http://[x/y': is no address"),
    ("fetch", "max_gb", 0, "fetch.max_gb = 0: has to be above 0"),
    ("fetch", "sha256", "abc", "fetch.sha256 = 'abc': has to be 64 digits, 0 to 9 and a to f"),
    ("fetch", "sha256", "A" * 64, "fetch.sha256"),
    ("prepare", "tokenizer", "word", "prepare.tokenizer = 'word': has to be 'char', 'byte', 'bpe' or 'gpt2'"),
    ("prepare", "tokenizer", "bpe", "prepare.vocab_size is null: tokenizer bpe needs it; usual is -S prepare.vocab"),
    ("prepare", "vocab_size", 4096, "prepare.vocab_size = 4096: is for prepare.tokenizer = bpe, not char; set it to"),
    ("prepare", "vocab_size", 256, "prepare.vocab_size = 256: has to be at least 257"),
    ("prepare", "vocab_size", 65_537, "prepare.vocab_size = 65537: has to be at most 65536"),
    ("prepare", "vocab_size", 4096.0, "prepare.vocab_size = 4096.0: has to be a whole number"),
    ("prepare", "train_fraction", 0.0, "prepare.train_fraction = 0.0"),
    ("prepare", "train_fraction", 1.0, "prepare.train_fraction = 1.0"),
    ("prepare", "train_fraction", 90, "prepare.train_fraction = 90"),
    ("evaluate", "overfit_gap", 0.0, "evaluate.overfit_gap = 0.0"),
    ("evaluate", "overfit_gap", 1.0, "evaluate.overfit_gap = 1.0"),
    ("evaluate", "threads", 0, "evaluate.threads = 0"),
    ("evaluate", "device", "tpu", "evaluate.device = 'tpu'"),
    ("sample", "prompt", "", "sample.prompt = ''"),
    ("sample", "prompt", 5, "sample.prompt = 5: has to be a text"),
    ("sample", "max_new_tokens", 0, "sample.max_new_tokens = 0"),
    ("sample", "num_samples", 0, "sample.num_samples = 0"),
    ("sample", "temperature", -1.0, "sample.temperature = -1.0"),
    ("sample", "top_k", -1, "sample.top_k = -1"),
    ("sample", "top_p", 0.0, "sample.top_p = 0.0"),
    ("sample", "top_p", 1.1, "sample.top_p = 1.1"),
    ("sample", "stop", "the end", 'sample.stop = \'the end\': has to be a list, such as ["a", "b"]'),
    ("sample", "stop", ["\n", ""], "sample.stop: item 2 = '': has to be a text that is not empty"),
    ("sample", "stop", [5], "sample.stop: item 1 = 5: has to be a text"),
    ("sample", "seed", -1, "sample.seed = -1"),
    ("sample", "on_unknown", "skip", "sample.on_unknown = 'skip'"),
    ("sample", "threads", 0, "sample.threads = 0"),
    ("sample", "device", "", "sample.device = ''"),
    ("runtime", "snapshot_seconds", 0, "runtime.snapshot_seconds = 0"),
    ("runtime", "progress", "loud", "runtime.progress = 'loud'"),
    ("runtime", "mlflow", "yes", "runtime.mlflow = 'yes': has to be true or false"),
    ("runtime", "experiment", "", "runtime.experiment = ''"),
    ("runtime", "x" * 500, 1, "unknown key"),
    ("train", "batch_size", "x" * 5000, "..."),
    ("train", "batch_size", {"a": {"b": [1, 2]}}, "train.batch_size = {'a': {'b': [...]}}"),
]


@pytest.mark.parametrize(("section", "key", "value", "expected"), FAULTS)
def test_a_wrong_value_is_named_with_what_would_be_right(
    tmp_path: Path, section: str, key: str, value: Any, expected: str
) -> None:
    message = fault(tmp_path, changed(section, **{key: value}))
    assert expected in message
    assert not {"should", "Input", "valid"} & set(message.split())  # pydantic's words


WRONG = [None, "word", "", "a\nb", "\x1b[31m", "3", "x" * 10_000, True, -1, 0, 3.0, 10**400, float("inf"), float("nan")]
WRONG += [[], [1], ["a"], [[1]], {}, {"a": 1}, b"ab", date(2026, 1, 2), datetime(2026, 1, 2, 3)]
INSIDE = re.compile(
    r"\b(tuple|float|int|dict|bool|str|None|NoneType|True|False|inputs?|fields?|instances?|should|valid|literals?"
    r"|datetime|pydantic|ctx|isinstance|argument)\b|b'|\n"
)
"""Words of the program, which a user need not know."""


@pytest.mark.parametrize("section", SECTIONS)
def test_no_value_of_any_key_is_answered_in_the_words_of_the_program(section: str) -> None:
    lines = []
    for key in SECTIONS[section].model_fields:
        for value in WRONG:
            try:
                checked(changed(section, **{key: value}), "params.yaml")
            except ConfigError as error:
                lines.append(str(error))
                if f"{section}.{key}" not in lines[-1]:
                    pytest.fail(f"{lines[-1]} does not name {section}.{key}")
    assert len(lines) > 10 * len(SECTIONS[section].model_fields)
    for line in lines:
        words = re.sub(rf"\b{section}\.\w+|'[^']*'", "", line)  # but for keys, and for values as they were written
        assert not INSIDE.search(words), line
        assert len(line) < 400


def test_every_wording_of_a_fault_is_seen_above() -> None:
    for words in WANTED.values():
        assert any(words.partition("{")[0] in expected for *_, expected in FAULTS), words


def test_rotary_needs_an_even_head_size(tmp_path: Path) -> None:
    wrong = changed("model", position="rotary", n_embd=6, n_head=2)
    assert "model.position = rotary: needs an even head size, but n_embd / n_head = 3" in fault(tmp_path, wrong)


@pytest.mark.parametrize("section", Params.model_fields)
def test_a_missing_section_and_each_missing_key_are_named(tmp_path: Path, section: str) -> None:
    values = small_values()
    keys = values.pop(section)
    assert f"{section}: section missing" in fault(tmp_path, values)
    for key in keys:
        shorter = small_values()
        del shorter[section][key]
        assert f"{section}.{key}: missing" in fault(tmp_path, shorter)


@pytest.mark.parametrize("value", [None, [], "text", 5, [1, 2]])
def test_a_section_that_is_no_section_is_named(tmp_path: Path, value: object) -> None:
    assert "train = " in fault(tmp_path, {**small_values(), "train": value})


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    assert "trian: unknown section, did you mean train?" in fault(tmp_path, {**small_values(), "trian": {}})
    assert "plots: unknown section; known are fetch, prepare" in fault(tmp_path, {**small_values(), "plots": {}})


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    values = changed("train", batch_size=0, seed="x", zzz=1)
    del values["model"]["norm"]
    del values["sample"]
    values["extra"] = {}
    values["fetch"]["source"] = "s3://somewhere"
    message = fault(tmp_path, values, "evaluate.device=tpu")
    for part in (
        "train.batch_size = 0",
        "train.seed = 'x'",
        "train.zzz: unknown key",
        "model.norm: missing",
        "sample: section missing",
        "extra: unknown section",
        "fetch.sha256 is null",
        "evaluate.device = 'tpu'",
        str(tmp_path / "params.yaml"),
        "with -S",
    ):
        assert part in message


def test_both_faults_of_a_combination_are_told(tmp_path: Path) -> None:
    message = fault(tmp_path, changed("train", beta1=None, beta2=None, min_lr=1.0, warmup_iters=9))
    for part in ("train.beta1 is null", "train.beta2 is null", "train.min_lr = 1.0", "train.warmup_iters = 9"):
        assert part in message


TEXTS: list[tuple[str | bytes, str]] = [
    (b"train: \xff\xfe", "not UTF-8 at byte 7"),
    ("train: [1, 2", "not valid YAML"),
    ("a: b: c", "not valid YAML"),
    ("\tx: 1", "not valid YAML"),
    ("train: {a: 1, a: 2}", "the key a appears twice"),
    ("train: {}\ntrain: {}", "the key train appears twice"),
    ("1: {}", "the key 1 has to be a word"),
    ("? [a, b]\n: 1", "has to be a word"),
    ("x: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ("x: *missing", "not valid YAML"),
    ("x: 2020-13-45", "not valid YAML"),
    ("x: " + "9" * 5000, "not valid YAML"),
    ("x: \x00", "not valid YAML"),
    ("---\na: 1\n---\nb: 2", "not valid YAML"),
    ("", "has to hold sections"),
    ("# nothing", "has to hold sections"),
    ("just text", "has to hold sections"),
    ("- a\n- b", "has to hold sections"),
    ("train: {seed: 0x" + "f" * 9000 + "}", "train.seed = a very large number"),
    ("[" * 5000, "not valid YAML: it is nested too deeply"),
    ("a: 1\nb: [1,\nc: 2", "not valid YAML: line 3, column 5: expected ',' or ']', but got the end of the text"),
    ("x: !!bool perhaps", "not valid YAML"),
    ("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> b\n", "not valid YAML: line 1: git left a merge conflict here;"),
    ("a: [1 <<<<<<< HEAD", "not valid YAML: expected"),
    ("x: !thing 1", "the tag !thing is not allowed here"),
    ("null: {}", "the key null has to be a word"),
    ("x: 1" + " " * 1_000_000, "has more than 1,000,000 bytes, so it is no params file"),
    ("{a: " * 101 + "1" + "}" * 101, "not valid YAML: it is nested too deeply"),
    ("a: &a [*a]", "a: unknown section"),
    ("train: &a {batch_size: *a}", "train.batch_size = "),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=range(len(TEXTS)))
def test_a_file_that_is_no_params_file_is_refused(tmp_path: Path, text: str | bytes, expected: str) -> None:
    message = fault(tmp_path, text)
    assert expected in message
    assert str(tmp_path / "params.yaml") in message


@pytest.mark.timeout(10)
@pytest.mark.parametrize("place", ["section", "value", "override"])
def test_a_bomb_of_aliases_does_not_go_off(tmp_path: Path, place: str) -> None:
    """Ten lines that would be ten thousand million words, were they written out."""
    bomb = "\n".join(
        [
            "l0: &l0 [x, x, x, x, x, x, x, x, x, x]",
            *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)),
        ]
    )
    text = {"section": f"{bomb}\ntrain: *l9", "value": f"{bomb}\ntrain: {{batch_size: *l9}}", "override": bomb}[place]
    overrides = ["train.seed={" + bomb.replace("\n", ", ") + "}"] if place == "override" else []
    assert "train" in fault(tmp_path, text, *overrides)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such params file") as raised:
        load_params(tmp_path / "none.yaml")
    assert str(tmp_path / "none.yaml") in str(raised.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_params(tmp_path)


OVERRIDES = [
    ("train.learning_rate=3e-4", "train", "learning_rate", 3e-4),
    ("train.batch_size=32", "train", "batch_size", 32),
    ("model.ngram_orders=[2, 3]", "model", "ngram_orders", (2, 3)),
    ("model.scale_embedding=false", "model", "scale_embedding", False),
    ("model.position=rotary", "model", "position", "rotary"),
    ("sample.prompt=a=b", "sample", "prompt", "a=b"),
    ('sample.prompt="\\n"', "sample", "prompt", "\n"),
    ("fetch.source=data/my text.txt", "fetch", "source", "data/my text.txt"),
]


@pytest.mark.parametrize(("override", "section", "key", "value"), OVERRIDES)
def test_an_override_takes_the_place_of_the_files_value(
    tmp_path: Path, override: str, section: str, key: str, value: object
) -> None:
    params = load_params(written(tmp_path, small_values()), [override])
    assert params == small_params(**{section: {key: list(value) if isinstance(value, tuple) else value}})


def test_the_last_override_of_a_key_stands_and_supplies_what_is_missing(tmp_path: Path) -> None:
    values = small_values()
    del values["train"]["seed"]
    path = written(tmp_path, values)
    assert load_params(path, ["train.seed=1", "train.seed=2"]).train.seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train", "-S train: has to be section.key=value"),
        ("seed=1", "-S seed=1: has to be section.key=value, such as -S train.seed=1"),
        ("train.lr=1", "train.lr: unknown key, did you mean learning_rate?"),
        ("TRAIN.seed=1", "TRAIN: unknown section, did you mean train?"),
        ("train.seed", "has to be section.key=value"),
        ("train.seed.x=1", "has to be section.key=value"),
        (" train.seed=1", "has to be section.key=value"),
        ("=1", "has to be section.key=value"),
        ("train.sed=1", "train.sed: unknown key, did you mean seed?"),
        ("tran.seed=1", "tran: unknown section, did you mean train?"),
        ("train.seed=x", "train.seed = 'x'"),
        ("train.seed=", "train.seed = ''"),
        ("train.seed=null", "train.seed = null"),
        ("train.seed=[1", "the value is not valid YAML: expected ',' or ']', but got the end of the text"),
        ("train.seed={a: 1, a: 2}", "the key a appears twice"),
        ("train.seed=" + "9" * 5000, "not valid YAML"),
        ("train.seed=" + "[" * 500, "not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in fault_short(tmp_path, override)


def fault_short(folder: Path, override: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load_params(written(folder, small_values()), [override])
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_override_into_something_that_is_no_section_is_named(tmp_path: Path) -> None:
    assert "-S train.seed=1: train is not a section" in fault(tmp_path, {"train": 5}, "train.seed=1")


IGNORED: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"fetch": {"source": "own", "sha256": "0" * 64}}, "fetch.sha256 is ignored: fetch.source is own"),
    ({"fetch": {"source": "shakespeare", "sha256": "0" * 64}}, "fetch.sha256 is ignored: fetch.source is shakespeare"),
    ({"fetch": {"source": "own", "separator": ""}}, "fetch.separator is ignored: fetch.source is own"),
    (
        {"prepare": {"val_source": "v.txt", "train_fraction": 0.8}},
        "prepare.train_fraction = 0.8 is ignored: prepare.val_source validates",
    ),
    ({"train": {"optimizer": "sgd"}}, "ignored, since train.optimizer is sgd: train.beta1, train.beta2; set to null"),
    ({"train": {"optimizer": "sgd", "beta1": None}}, "ignored, since train.optimizer is sgd: train.beta2; set to null"),
    ({"train": {"muon_lr": 0.02}}, "ignored, since train.optimizer is adamw: train.muon_lr; set to null"),
    ({"train": {"ngram_lr": 0.5}}, "train.ngram_lr = 0.5 is ignored: model.ngram_orders is empty"),
    ({"train": {"ngram_floor": 0.5}}, "train.ngram_floor = 0.5 is ignored: model.ngram_orders is empty"),
    ({"model": {"ngram_dropout": 0.5}}, "model.ngram_dropout = 0.5 is ignored: model.ngram_orders is empty"),
    ({"model": {"kneser_ney_share": 0.5}}, "model.kneser_ney_share = 0.5 is ignored: model.kneser_ney is 0"),
    ({"train": {"teacher_share": 0.3}}, "train.teacher_share = 0.3 is ignored: train.teacher_order is 0"),
    ({"train": {"min_lr": 0.001}}, "train.min_lr = 0.001 is ignored: train.lr_schedule is constant"),
    ({"train": {"compile": True}, "runtime": {"threads": 2}}, "runtime.threads = 2 is ignored: with train.compile"),
    ({"train": {"shard": True}, "runtime": {"threads": 2}}, "runtime.threads = 2 is ignored: with train.shard each"),
    ({"runtime": {"processes": 2, "launcher": "x"}}, "runtime.processes = 2 is ignored: runtime.launcher says"),
    ({"runtime": {"restarts": 2}}, "runtime.restarts = 2 is ignored: it is for the processes"),
    ({"sample": {"temperature": 0.0, "num_samples": 1, "top_k": 5}}, "sample.top_k and sample.top_p are ignored"),
    ({"sample": {"temperature": 0.0, "num_samples": 1, "top_p": 0.5}}, "sample.top_k and sample.top_p are ignored"),
    ({"sample": {"temperature": 0.0, "num_samples": 2}}, "sample.num_samples: all samples will be equal"),
]


@pytest.mark.parametrize(("changes", "expected"), IGNORED)
def test_a_setting_without_effect_is_told(changes: dict[str, dict[str, Any]], expected: str) -> None:
    lines = ignored_settings(small_params(**changes))
    assert len(lines) == 1
    assert lines[0].startswith(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fetch": {"source": "https://example.org/a", "sha256": "0" * 64}},
        {"fetch": {"source": "a.txt", "sha256": "0" * 64}},
        {"fetch": {"source": "texts", "separator": ""}, "prepare": {"val_source": "v.txt"}},
        {"train": {"optimizer": "sgd", "beta1": None, "beta2": None}},
        {"train": {"lr_schedule": "linear", "min_lr": 0.001}},
        {"sample": {"temperature": 0.0, "num_samples": 1}},
        {"sample": {"top_k": 3, "top_p": 0.5}},
    ],
    ids=str,
)
def test_settings_that_all_have_effect_are_passed_in_silence(changes: dict[str, dict[str, Any]]) -> None:
    assert ignored_settings(small_params(**changes)) == []


def test_params_cannot_be_changed() -> None:
    params = small_params()
    with pytest.raises(ValidationError, match="frozen"):
        params.train = params.train  # type: ignore[misc]
    for name in Params.model_fields:
        section: BaseModel = getattr(params, name)
        for key in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, key, getattr(section, key))
    assert isinstance(params.model.ngram_orders, tuple)


def test_a_section_survives_json() -> None:
    params = model_params(ngram_orders=[2, 3])
    assert ModelParams.model_validate_json(params.model_dump_json()) == params
