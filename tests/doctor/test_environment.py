"""What `gptmodel doctor` sees of places that a project depends on and that are not where they were."""

import shutil
import venv
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("prompt", ["a b", "one", "x --y z"])
def test_an_environment_may_have_a_prompt(tmp_path: Path, prompt: str) -> None:
    (tmp_path / "a folder").mkdir()
    venv.create(tmp_path / "a folder" / ".venv", prompt=prompt)
    assert problems(tmp_path / "a folder", ".venv was") == []


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
