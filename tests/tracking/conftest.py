"""A migrated MLflow database, made once and copied: making one takes seconds."""

import os
import shutil
from pathlib import Path

import pytest
from made_once import made_once

from gptmodel.tracking.mlflow_store import MLFLOW_ENVIRONMENT


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is the project's own, and what a test sets in the environment goes with it."""
    for name in (*os.environ,):
        if name.startswith(("MLFLOW_", "DVC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name, value in MLFLOW_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def make(folder: Path) -> None:
    """Make an empty MLflow database."""
    import mlflow

    mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").search_experiments(max_results=1)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; not to be changed."""
    return made_once(tmp_path_factory, "template", make) / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, template: Path) -> Path:
    """A project's folder with an empty store."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return folder
