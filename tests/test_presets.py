"""params.yaml and presets/: made from gptmodel.config, and in the form in which DVC writes them."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from dvc.utils.hydra import apply_overrides
from model_helpers import ROOT

from gptmodel.config import SECTIONS
from gptmodel.errors import ConfigError
from gptmodel.nn.transformer import TransformerModel
from gptmodel.params_file import checked, load_params, read_params
from gptmodel.presets import PRESETS, WORDS, Preset, params_text, use, with_words, write
from gptmodel.section import described

FILES = [ROOT / "params.yaml", *(ROOT / "presets" / f"{name}.yaml" for name in PRESETS)]
KEYS = [f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields]
OTHERS = {  # another value of each kind, as `-S` takes it, and as it is
    "NoneType": ("0.5", 0.5),
    "bool": ("true", True),
    "float": ("1e-5", 1e-5),
    "int": ("77", 77),
    "list": ("[2,3]", [2, 3]),
    "str": ("other", "other"),
}
MEND = "run `python -m gptmodel.presets`"


def values_of(name: str) -> dict[str, dict[str, Any]]:
    return PRESETS[name].values()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_on_the_disk_is_the_one_in_the_source(name: str) -> None:
    text = (ROOT / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    assert text == params_text(PRESETS[name].words, values_of(name)), MEND
    assert load_params(ROOT / "presets" / f"{name}.yaml") == checked(values_of(name), name)


def test_there_is_no_preset_beside_these() -> None:
    assert {path.stem for path in (ROOT / "presets").iterdir()} == set(PRESETS)


def test_params_yaml_has_the_words_of_the_source_and_values_of_its_own() -> None:
    assert (ROOT / "params.yaml").read_text(encoding="utf-8") == with_words(ROOT / "params.yaml"), MEND


def test_every_key_has_words_and_a_default_and_the_defaults_are_valid() -> None:
    defaults = Preset("").values()
    for name, section in SECTIONS.items():
        assert section.__doc__
        assert list(defaults[name]) == list(section.model_fields)
        for key, field in section.model_fields.items():
            assert field.is_required(), f"{name}.{key}"
            assert field.description, f"{name}.{key}"
    checked(defaults, "defaults")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_key_has_its_words_beside_it_on_a_line_that_fits(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    if path.stem in PRESETS:  # params.yaml may hold values of any length
        assert max(map(len, lines)) <= 120
    for name in KEYS:
        section, key = name.split(".")
        words = described(SECTIONS[section].model_fields[key])
        assert any(
            re.fullmatch(rf"  {key}:.*  # {re.escape(words)}", line)
            or (line.startswith(f"  {key}:") and above == f"  # {words}")
            for above, line in pairwise(lines)
        ), name


def test_writing_keeps_every_value_and_adds_the_keys_that_are_missing(tmp_path: Path) -> None:
    values = values_of("laptop")
    values["train"] |= {"learning_rate": 1e-22, "seed": 5, "ngram_lr": None}
    values["sample"] |= {
        "prompt": '# no comment: \'tis "a" text\n\tof two lines, and of more than eighty characters in all'
    }
    values["fetch"]["source"] = "some where/010"
    shorter = {name: dict(section) for name, section in values.items() if name != "runtime"}
    del shorter["evaluate"]["threads"], shorter["model"]["norm"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(shorter), encoding="utf-8")
    write(tmp_path)
    assert read_params(path) == values | {"model": {**values["model"], "norm": "post"}}
    assert path.read_text(encoding="utf-8") == with_words(path)
    assert {file.name for file in (tmp_path / "presets").iterdir()} == {f"{name}.yaml" for name in PRESETS}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tran: {}", "tran: unknown section"),
        ("model: {norms: pre}", "model.norms: unknown key"),
        ("model: 5", "model = 5"),
    ],
)
def test_nothing_is_written_over_a_file_with_a_fault(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]
    assert path.read_text(encoding="utf-8") == line


@pytest.mark.parametrize("section", SECTIONS)
def test_dvc_changes_each_key_that_it_was_told_to_and_nothing_else(section: str, tmp_path: Path) -> None:
    """What `dvc exp run -S` leaves of a file is what is written here for the same values."""
    values = values_of("tutorial")
    path = tmp_path / "params.yaml"
    path.write_text(params_text(WORDS, values), encoding="utf-8")
    others = {key: OTHERS[type(value).__name__] for key, value in values[section].items()}
    apply_overrides(path, [f"{section}.{key}={word}" for key, (word, _) in others.items()])
    values[section] = {key: value for key, (_, value) in others.items()}
    assert path.read_text(encoding="utf-8") == params_text(WORDS, values)
    assert read_params(path) == values


@pytest.mark.parametrize(
    "override", ["model.ngram_orders=[]", "train.ngram_lr=null", "train.seed=10", "model.qk_norm=false"]
)
def test_dvc_changes_nothing_else_in_a_preset_with_a_list(override: str, tmp_path: Path) -> None:
    values = values_of("best")
    path = tmp_path / "params.yaml"
    path.write_text(params_text(WORDS, values), encoding="utf-8")
    apply_overrides(path, [override])
    name, word = override.split("=")
    section, key = name.split(".")
    values[section][key] = yaml.safe_load(word)
    assert path.read_text(encoding="utf-8") == params_text(WORDS, values)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dvc_leaves_the_files_of_the_project_as_they_are(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "params.yaml"
    copy.write_bytes(path.read_bytes())
    seed = read_params(path)["train"]["seed"]
    apply_overrides(copy, [f"train.seed={seed + 1}"])
    assert copy.read_bytes() != path.read_bytes()
    apply_overrides(copy, [f"train.seed={seed}"])
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("before", PRESETS)
def test_a_preset_is_used_as_dvc_would_write_it(before: str, name: str, tmp_path: Path) -> None:
    """Only model and train change; the rest, and every comment, of the user's own too, stays."""
    values = values_of(before)
    values["fetch"]["source"], values["sample"]["prompt"], values["runtime"]["snapshot_seconds"] = "own", "O", 7.5
    path = tmp_path / "params.yaml"
    mine = "# How the text becomes", "# a comment of mine\n# How the text becomes"
    path.write_text(params_text(WORDS, values).replace(*mine), encoding="utf-8")
    changes = use(path, name)
    after = values | {section: values_of(name)[section] for section in ("model", "train")}
    expected = params_text(WORDS, after).replace(
        "# How the text becomes", "# a comment of mine\n# How the text becomes"
    )
    assert path.read_text(encoding="utf-8") == expected
    assert set(changes) == {key for key in KEYS if _of(values, key) != _of(after, key)}
    assert all(change == (_of(values, key), _of(after, key)) for key, change in changes.items())
    assert use(path, name) == {}


def _of(values: dict[str, dict[str, Any]], name: str) -> Any:
    section, key = name.split(".")
    return values[section][key]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("lap", None, "lap: no such preset; there are tutorial, nanogpt, laptop, network, best"),
        ("laptop", "model: 5", "model = 5"),
        ("laptop", "sample: {}", "sample.top_p: missing"),
        ("laptop", None, "no such params file"),
    ],
)
def test_a_preset_that_cannot_be_used_changes_nothing(
    tmp_path: Path, name: str, line: str | None, message: str
) -> None:
    path = tmp_path / "params.yaml"
    if line:
        path.write_text(line, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        use(path, name)
    assert (path.read_text(encoding="utf-8") if line else None) == line


@pytest.mark.parametrize("name", PRESETS)
def test_the_sizes_of_a_preset_are_those_of_its_model(name: str) -> None:
    """With the 78 characters of the default text; its counts of up to 9 characters take another 38 MB there."""
    params = checked(values_of(name), name).model
    with torch.device("meta"):
        model = TransformerModel(params, 78)
    assert sum(weight.numel() for weight in model.parameters()) == PRESETS[name].parameters
    counts = 38_323_168 if params.kneser_ney == 9 else 0
    assert PRESETS[name].megabytes == round((4 * PRESETS[name].parameters + counts) / 1e6)
