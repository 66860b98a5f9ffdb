"""The tiny project of tests/pipeline, committed once; each test gets a copy of it."""

from pathlib import Path

import pytest
from made_once import made_once
from pipeline_helpers import TRACKING, run_once
from verify_helpers import commit, copied, set_params


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `dvc repro` and a commit, of which nothing was tracked; not to be changed."""

    def make(folder: Path) -> None:
        project = run_once(tmp_path_factory)[1].copy_to(folder / "project")
        project.remove(*TRACKING)
        set_params(project.root, "mlflow=false")
        commit(project.root)

    return made_once(tmp_path_factory, "verify", make) / "project"


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, the test's own."""
    return copied(finished, tmp_path / "project")
