"""Servers that are started once, for the tests of one worker."""

from collections.abc import Iterator

import pytest
from mlflow_server import free_port
from real_servers import MlflowServer, Postgres, Ssh, Store, needs, postgres, s3, ssh


@pytest.fixture(scope="session")
def database() -> Iterator[Postgres]:
    """A PostgreSQL without databases."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An S3 server."""
    with s3() as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[Ssh]:
    """An SSH server with an empty folder."""
    with ssh() as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(database: Postgres, store: Store, tmp_path_factory: pytest.TempPathFactory) -> MlflowServer:
    """An MLflow server that is not running yet."""
    needs("flask_wtf")
    database.create("mlflow")
    return MlflowServer(f"http://127.0.0.1:{free_port()}", database, store, tmp_path_factory.mktemp("server"))
