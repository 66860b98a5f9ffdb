"""What `gptmodel doctor` sees of places that a project depends on and that are not where they were."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from model_helpers import ROOT

from gptmodel.doctor.environment import environment


def problems(root: Path, word: str) -> list[str]:
    return [finding.text for finding in environment(root) if finding.status == "problem" and word in finding.text]


def test_an_environment_that_was_copied_is_a_problem(tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "a copy"
    venv.create(first / ".venv", with_pip=False)
    assert problems(first, ".venv was") == []
    shutil.copytree(first, copy, symlinks=True)
    assert problems(copy, ".venv was") == [
        f".venv was made as {first}/.venv and came here by a copy or a move: its commands run what is there; "
        "`rm -r .venv && make install` makes it anew"
    ]
    shutil.rmtree(copy / ".venv")
    venv.create(copy / ".venv", with_pip=False)
    assert problems(copy, ".venv was") == []
    (tmp_path / "link").symlink_to(copy)
    assert problems((tmp_path / "link").resolve(), ".venv was") == []


def test_a_library_that_is_not_for_this_python_is_not_missing(tmp_path: Path) -> None:
    pins = [f"pytest=={pytest.__version__}", "no-such-one==1.8.0; python_version < '3'"]
    (tmp_path / "requirements.txt").write_text("\n".join(pins))
    assert "all 1 libraries have" in next(environment(tmp_path)).text
    (tmp_path / "requirements.txt").write_text("\n".join([*pins, "no-such-two==1; python_version > '3'  # here"]))
    assert "pins: no-such-two missing instead of 1:" in next(environment(tmp_path)).text


@pytest.mark.parametrize("content", ["torch==2.13.0".encode("utf-16"), b"torch==2.13.0; no marker"])
def test_a_spoilt_list_of_libraries_is_a_problem(tmp_path: Path, content: bytes) -> None:
    """As where PowerShell wrote it."""
    (tmp_path / "requirements.txt").write_bytes(content)
    [found] = problems(tmp_path, "requirements.txt cannot be read")
    assert found.endswith("`git restore requirements.txt`")
    assert "\n" not in found


def test_the_python_of_another_environment_is_told_though_both_are_links_to_one_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, own = tmp_path / "other" / "bin", Path(sys.executable).parent
    venv.create(other.parent, with_pip=False, symlinks=True)
    (packages,) = other.parent.glob("lib/python*/site-packages")
    (packages / "torch.py").touch()
    (other / "dvc").touch(mode=0o755)
    for first, status, told in (
        (other, "note", [f"`{each}` is {other / each}, but doctor runs with" for each in ("python", "dvc")]),
        (own, "ok", [f"`python` and `dvc` are those of {own}"]),
    ):
        monkeypatch.setenv("PATH", os.pathsep.join([str(first), "/usr/bin", "/bin"]))
        found = [finding for finding in environment(tmp_path) if finding.text.startswith(("`python`", "`dvc`"))]
        assert {finding.status for finding in found} == {status}
        assert all(finding.text.startswith(text) for finding, text in zip(found, told, strict=True))


@pytest.mark.parametrize("prompt", ["a b", "one", "x --y z"])
def test_an_environment_may_have_a_prompt(tmp_path: Path, prompt: str) -> None:
    (tmp_path / "a folder").mkdir()
    venv.create(tmp_path / "a folder" / ".venv", prompt=prompt)
    assert problems(tmp_path / "a folder", ".venv was") == []


def test_a_folder_that_another_user_owns_is_no_reason_for_git_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    [found] = problems(tmp_path, "git rev-parse")
    assert "detected dubious ownership" in found
    assert found.endswith(f"call: git config --global --add safe.directory {tmp_path}")


def test_in_a_clone_what_the_text_was_made_of_is_told_to_be_missing(tmp_path: Path) -> None:
    out = "{path: data/input.txt, hash: md5, md5: 0123456789abcdef0123456789abcdef, size: 5}"
    stage = f"{{cmd: a, params: {{params.yaml: {{fetch: {{source: texts/*.txt}}}}}}, outs: [{out}]}}"
    (tmp_path / "dvc.lock").write_text(f"schema: '2.0'\nstages: {{fetch: {stage}}}\n", encoding="utf-8")

    def told() -> list[str]:
        return [finding.text for finding in environment(tmp_path) if "dvc.lock was written with it" in finding.text]

    [found] = told()
    assert found.startswith("texts/*.txt is not here, and dvc.lock was written with it (fetch.source is texts/*.txt): ")
    assert "or put there what the text was made of, which has the md5 0123456789abcdef" in found
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    assert told() == []


@pytest.mark.parametrize("setting", ["fetch.source", "prepare.val_source", "train.init_from"])
def test_a_text_that_is_gone_is_a_problem(tmp_path: Path, setting: str) -> None:
    link, text = tmp_path / "project" / "data" / setting, tmp_path / "my.txt"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../my.txt")
    assert problems(tmp_path / "project", setting) == [
        f"data/{setting}: {text}, to which it is a link, is gone: put that file back, or change {setting}; "
        "`dvc repro` stops until then"
    ]
    text.touch()
    assert problems(tmp_path / "project", setting) == []
    link.unlink()
    assert problems(tmp_path / "project", setting) == []
    link.symlink_to(link.name)
    assert len(problems(tmp_path / "project", f"{link}, to which it is a link, is gone")) == 1


def test_a_params_file_of_an_older_version_is_a_problem_that_names_what_mends_it(tmp_path: Path) -> None:
    for name in ("params.yaml", "presets"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    params = tmp_path / "params.yaml"
    assert problems(tmp_path, "params.yaml") == []
    older = {"init_from", "patience"}
    lines = params.read_text(encoding="utf-8").splitlines(keepends=True)
    params.write_text("".join(line for line in lines if line.split(":")[0].strip() not in older), encoding="utf-8")
    [found] = problems(tmp_path, "params.yaml")
    assert "train.patience: missing; train.init_from: missing" in found
    command = re.search("`python (.+?)`", found)
    assert command is not None
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command[1].split()], cwd=tmp_path, env=environment, check=True)
    assert problems(tmp_path, "params.yaml") == []
    assert params.read_text(encoding="utf-8") == "".join(lines)
    params.unlink()
    assert problems(tmp_path, "params.yaml") == [
        f"{params}: no such params file; run in the project's folder (stages take another by --params)"
    ]
