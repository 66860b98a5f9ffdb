"""What dvc.yaml and dvc.lock say: every field checked, and DVC's own digests."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from gptmodel.errors import DataError
from gptmodel.project.lock import (
    IGNORED,
    measure,
    read_lock,
    read_pipeline,
    read_stage,
)

ROOT = Path(__file__).resolve().parents[2]
MD5 = "0" * 32


def lock_text(**changes: Any) -> str:
    out = {"path": "a", "hash": "md5", "md5": MD5, "size": 1} | changes
    out = {key: value for key, value in out.items() if value is not ...}
    return yaml.safe_dump({"schema": "2.0", "stages": {"one": {"cmd": "x", "outs": [out]}}})


def fault(folder: Path, text: str) -> str:
    (folder / "dvc.lock").write_text(text)
    with pytest.raises(DataError) as raised:
        read_lock(folder / "dvc.lock")
    message = str(raised.value)
    assert message.startswith("dvc.lock: ")
    assert "\n" not in message
    return message


def test_a_lock_is_read(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(lock_text())
    (stage,) = read_lock(tmp_path / "dvc.lock").values()
    assert (stage.cmd, stage.outs["a"].md5, stage.outs["a"].size, stage.deps) == ("x", MD5, 1, {})


def test_a_stage_by_itself_is_that_of_the_whole(tmp_path: Path) -> None:
    path = shutil.copy(ROOT / "dvc.lock", tmp_path / "dvc.lock")
    stages = read_lock(path)
    assert len(stages) == 7
    assert {name: read_stage(path, name) for name in stages} == stages
    with pytest.raises(DataError, match=r"has no stage trai$"):
        read_stage(path, "trai")
    path.write_text("stages: {train: {cmd: x}}\nschema: '2.0'\n")  # as no DVC writes it
    assert read_stage(path, "train").cmd == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has to be a mapping"),
        ("- a", "has to be a mapping"),
        ("{" * 3000, "not valid YAML"),
        ("stages:\n<<<<<<< HEAD\n  a: b\n", "not valid YAML"),
        ("schema: '2.0'\nstages: [a]", "stages has to be a mapping"),
        ("schema: '9'\nstages: {}", "schema"),
        ("schema: '2.0'\nstages: {one: {cmd: 3}}", "cmd has to be a text"),
        ("schema: '2.0'\nstages: {one: {cmd: x, more: 1}}", "more is not known"),
        ("schema: '2.0'\nstages: {one: {cmd: x, outs: {}}}", "has to be a list"),
        (lock_text(md5="../../x"), "is not one that DVC 3 writes"),
        (lock_text(md5=MD5.upper().replace("0", "A")), "is not one that DVC 3 writes"),
        (lock_text(hash="sha1"), "is not one that DVC 3 writes"),
        (lock_text(size="1"), "size '1'"),
        (lock_text(size=True), "size True"),
        (lock_text(nfiles=2), "nfiles 2"),
        (lock_text(md5=f"{MD5}.dir"), "nfiles None"),
        (lock_text(path=...), "path None"),
        (lock_text(extra=1), "extra is not known"),
    ],
)
def test_a_lock_that_dvc_did_not_write_is_one_line(text: str, expected: str, tmp_path: Path) -> None:
    assert expected in fault(tmp_path, text)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """YAML 1.2: 1e-05 is a number and no is a word."""
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages: {one: {cmd: x, params: {params.yaml: {a: {b: 1e-05, c: no}}}}}"
    )
    params = read_lock(tmp_path / "dvc.lock")["one"].params
    assert params == {"params.yaml": {"a": {"b": 1e-05, "c": "no"}}}


def test_the_stages_come_in_the_order_they_depend_on_each_other() -> None:
    stages = read_pipeline(ROOT / "dvc.yaml")
    names = ["fetch", "prepare", "baselines", "train", "evaluate", "sample", "report"]
    assert [stage.name for stage in stages] == names
    text = stages[0].outs["data/input.txt"]
    assert (text.cached, text.persist, text.kind) == (False, True, "outs")
    assert stages[3].params == {"params.yaml": ("model", "train")}


def test_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x, deps: [p], outs: [q]}, b: {cmd: x, deps: [q], outs: [p]}}")
    with pytest.raises(DataError, match="a, b depend on each other"):
        read_pipeline(tmp_path / "dvc.yaml")


@pytest.mark.parametrize("key", ["deps", "params", "outs", "metrics", "plots"])
@pytest.mark.parametrize("value", ["", "5", "true", "word", "{a: b}"])
def test_a_list_that_is_none_is_refused(tmp_path: Path, key: str, value: str) -> None:
    """As where its last entry was taken out by hand."""
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  one:\n    cmd: x\n    {key}: {value}\n")
    with pytest.raises(DataError, match=f"^dvc.yaml: one: {key} has to be a list"):
        read_pipeline(tmp_path / "dvc.yaml")


def test_the_keys_of_a_params_file_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: x, params: [{other.yaml: 5}]}}")
    with pytest.raises(DataError, match=r"^dvc.yaml: one: other.yaml has to be a list"):
        read_pipeline(tmp_path / "dvc.yaml")


def test_a_folder_leaves_out_what_dvcignore_leaves_out(tmp_path: Path) -> None:
    lines = [line for line in (ROOT / ".dvcignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["__pycache__/", "*.py[co]"]
    assert set(IGNORED) == {"__pycache__", ".pyc", ".pyo"}
    (tmp_path / "a.py").write_text("1")
    before = measure(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.cpython-311.pyc").write_text("2")
    assert measure(tmp_path) == before
    (tmp_path / "b.py").write_text("2")
    assert measure(tmp_path) != before


def test_the_digest_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    """The md5 was recorded by `dvc add` of DVC 3.67."""
    folder = tmp_path / "d"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "ü.txt").write_text("ü")
    entry = measure(folder)
    assert entry is not None
    assert (entry.md5, entry.size, entry.nfiles) == (DVC_MD5, 4, 3)
    shutil.rmtree(folder)
    assert measure(folder) is None


DVC_MD5 = "a14b822f82cb4381a5715625c232d0d3.dir"
