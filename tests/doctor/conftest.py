"""A committed project; each test gets a copy of it."""

from pathlib import Path

import pytest
from committed_project import copied, finished_project


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of a finished project, the test's own."""
    return copied(finished_project(tmp_path_factory), tmp_path / "project")
