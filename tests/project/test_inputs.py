"""A stage's inputs are hashed at its start and its end."""

import hashlib
import os
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
    with pytest.raises(DataError, match=r"^dvc\.yaml: .*; `git checkout HEAD -- dvc\.yaml`") as raised:
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


TEXT = Path("data/input.txt")
BEFORE, AFTER = b"to be, or not to be", b"to be, or not to bE"


@pytest.fixture
def text(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The text of a project, which was written long ago."""
    (project / TEXT).write_bytes(BEFORE)
    monkeypatch.setattr("gptmodel.project.inputs.SETTLED_NS", 0)
    return project / TEXT


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_text_that_the_stage_measured_is_not_read_once_more(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs("prepare", Path("params.yaml"), measured=TEXT)
    assert str(TEXT) not in inputs.files
    inputs.check("not asked for")
    monkeypatch.setattr("gptmodel.project.inputs.SETTLED_NS", 1 << 62)  # as if it had been written a moment ago
    inputs = Inputs("prepare", Path("params.yaml"), measured=TEXT)
    inputs.check(sha256(BEFORE))
    with pytest.raises(DataError, match=r"^data/input\.txt: changed while prepare ran; run it again$"):
        inputs.check(sha256(AFTER))


@pytest.mark.parametrize("how", ["in place, its time put back", "by another file", "removed"])
def test_a_measured_text_that_changed_is_named_whatever_its_times_say(text: Path, how: str) -> None:
    status = text.stat()
    inputs = Inputs("prepare", Path("params.yaml"), measured=TEXT)
    other = text.with_name("other")
    other.write_bytes(AFTER)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    if how == "in place, its time put back":
        text.write_bytes(AFTER)
        os.utime(text, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "by another file":
        other.replace(text)
    else:
        text.unlink()
    with pytest.raises(DataError, match=r"^data/input\.txt: changed while prepare ran; run it again$"):
        inputs.check(sha256(BEFORE))


def test_a_measured_text_that_is_only_touched_is_the_same(text: Path) -> None:
    inputs = Inputs("prepare", Path("params.yaml"), measured=TEXT)
    os.utime(text)
    inputs.check(sha256(BEFORE))
