"""A stage's inputs are hashed at its start and its end."""

import shutil
from pathlib import Path

import pytest

from gptmodel.errors import ConfigError, DataError
from gptmodel.project.inputs import Inputs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("dvc.yaml", "params.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("stages", "gptmodel"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data" / "prepared").mkdir(parents=True)
    (tmp_path / "data" / "prepared" / "train.bin").write_bytes(b"ids")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_said_when_nothing_changed(project: Path) -> None:
    inputs = Inputs("train", Path("params.yaml"))
    (project / "gptmodel" / "nn" / "__pycache__").mkdir()
    (project / "gptmodel" / "nn" / "__pycache__" / "block.cpython-311.pyc").write_bytes(b"compiled")
    (project / "models").mkdir()
    (project / "README.md").write_text("not an input")
    inputs.check()
    assert inputs.files["data/prepared"] != "missing"


@pytest.mark.parametrize("changed", ["data/prepared/train.bin", "gptmodel/nn/block.py", "stages/train.py"])
def test_a_changed_file_is_named(project: Path, changed: str) -> None:
    inputs = Inputs("train", Path("params.yaml"))
    with (project / changed).open("ab") as stream:
        stream.write(b"# \n")
    with pytest.raises(DataError, match=r"changed while train ran"):
        inputs.check()


def test_only_the_sections_of_the_stage_count(project: Path) -> None:
    inputs = Inputs("train", Path("params.yaml"))
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("temperature: 0.8", "temperature: 0.5"))
    inputs.check()
    (project / "params.yaml").write_text(text.replace("seed: 1337", "seed: 1338"))
    with pytest.raises(ConfigError, match="section train changed while train ran"):
        inputs.check()


def test_outside_a_project_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    inputs = Inputs("train", Path("params.yaml"))
    assert inputs.files == {}
    inputs.check()


@pytest.mark.parametrize("content", ["stages: [", "stages: 5\n", "other: {}\n", "stages: {train: 3}\n", ""])
def test_a_pipeline_that_cannot_be_read_is_one_line_with_its_mend(project: Path, content: str) -> None:
    (project / "dvc.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"^dvc\.yaml: .*; `git restore dvc\.yaml`") as raised:
        Inputs("train", Path("params.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [None, "train: [", "5"])
def test_params_that_are_gone_or_half_saved_at_the_end_are_one_line(project: Path, content: str | None) -> None:
    inputs = Inputs("train", Path("params.yaml"))
    (project / "params.yaml").unlink()
    if content is not None:
        (project / "params.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^params\.yaml: cannot be read any more") as raised:
        inputs.check()
    assert "\n" not in str(raised.value)
