"""A clean clone of the project, in which commands run as a user runs them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.paths import ROOT
from benchmarks.probes.start import run_python
from gptmodel.params_file import load_params

PAUSE = 8.0
"""Seconds for the process that sends a training to MLflow to end: it would compete with what is measured next."""


def clone(folder: Path, settings: Sequence[str], text: bytes) -> None:
    """Clone the project to a folder, with settings changed and a text of one's own."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    params = load_params(folder / "params.yaml", ["fetch.source=own", *settings])
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")), encoding="utf-8")
    (folder / "data" / "input.txt").write_bytes(text)


def run_as_user(folder: Path, *words: str) -> None:
    """Run Python in a folder as a user does who activated its environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    run_python(folder, *words, PATH=path, DVC_NO_ANALYTICS="1")
