"""A committed project; each test gets a copy of it."""

from pathlib import Path

import pytest
from committed_project import copied, finished_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that tests copy; not to be changed."""
    return finished_project(tmp_path_factory)


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, the test's own."""
    return copied(finished, tmp_path / "project")
