"""One small project, run and committed once; each test gets a copy of it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from verify_helpers import commit, good, new_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `dvc repro` and a commit; not to be changed."""
    folder = tmp_path_factory.mktemp("verify") / "project"
    folder.mkdir()
    new_project(folder)
    good(folder, "dvc", "repro", "--quiet")
    commit(folder)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, the test's own."""
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    subprocess.run(["git", "status"], cwd=tmp_path / "project", capture_output=True, check=True)  # the copy's own index
    return tmp_path / "project"
