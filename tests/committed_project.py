"""The tiny project of tests/pipeline, committed once; the commands one gives in a copy, and the rows verify prints."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import server
from made_once import made_once
from pipeline_helpers import TRACKING, run_once

ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "DVC_", "MLFLOW_", "PYTHONPATH"))
} | {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "DVC_NO_ANALYTICS": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b.c",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b.c",
}
Completed = subprocess.CompletedProcess[str]
SECONDS = 240
"""No command takes longer."""


def finished_project(factory: pytest.TempPathFactory) -> Path:
    """Return a project after `dvc repro` and a commit, of which nothing was tracked; not to be changed."""

    def make(folder: Path) -> None:
        project = run_once(factory)[1].copy_to(folder / "project")
        project.remove(*TRACKING)
        set_params(project.root, "mlflow=false")
        commit(project.root)

    return made_once(factory, "committed", make) / "project"


def call(project: Path, *words: str, **environment: str) -> Completed:
    """Run a command in the project."""
    env = ENVIRONMENT | environment
    return subprocess.run(words, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)


def good(project: Path, *words: str) -> str:
    """Run a command that has to succeed, and return what it says."""
    result = call(project, *words)
    assert result.returncode == 0, f"{words}: {result.stdout}\n{result.stderr}"
    return result.stdout


def gptmodel(project: Path, *words: str) -> Completed:
    """Run the gptmodel command, from a process that has imported what it needs; the stages it starts are fresh ones."""
    attempt = server().start(project, list(words), {}, PATH=ENVIRONMENT["PATH"], PYTHONPATH="")
    return Completed(words, attempt.wait(SECONDS), attempt.output, attempt.error)


def change_metric(project: Path, path: str, names: list[str], factor: float) -> None:
    """Change a number of a metrics file by hand, and its md5 in the lock with it."""
    old = call(project, "md5sum", path).stdout.split()[0]
    values = inner = json.loads((project / path).read_text())
    for name in names[:-1]:
        inner = inner[name]
    inner[names[-1]] *= factor
    (project / path).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    replace(project / "dvc.lock", old, call(project, "md5sum", path).stdout.split()[0])


def commit(project: Path) -> None:
    """Commit all that git does not ignore."""
    good(project, "git", "add", "--all")
    good(project, "git", "commit", "--quiet", "--message", "x")


def replace(path: Path, old: str, new: str) -> None:
    """Change a file by hand."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def set_params(project: Path, *settings: str) -> None:
    """Set keys of params.yaml, whatever their section."""
    path = project / "params.yaml"
    lines = path.read_text().splitlines()
    for setting in settings:
        key, value = setting.split("=")
        assert any(line.startswith(f"  {key}:") for line in lines), key
        lines = [f"  {key}: {value}" if line.startswith(f"  {key}:") else line for line in lines]
    path.write_text("\n".join(lines) + "\n")


def copied(finished: Path, target: Path) -> Path:
    """Return a copy of a project to change."""
    shutil.copytree(finished, target, symlinks=True)
    good(target, "git", "status")  # the copy's own index
    return target


def rows(result: Completed) -> dict[tuple[str, str], str]:
    """Return the status of each row of the table by stage and file."""
    words = [line.split("  ") for line in result.stdout.splitlines() if "  " in line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in words]
    return {(line[0], line[1]): line[2] for line in cells if len(line) >= 3}


def faults(result: Completed) -> set[tuple[str, str, str]]:
    """Return the rows that are not proven."""
    fine = ("same", "same, but for the time it took", "volatile")
    return {(*key, status) for key, status in rows(result).items() if status not in fine}
