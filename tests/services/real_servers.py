"""Real servers on 127.0.0.1, as ordinary processes that end with the block: PostgreSQL, SeaweedFS, OpenSSH, MLflow.

Where a program is missing, the test that needs it is skipped with its name. Whoever is root starts PostgreSQL and
OpenSSH as `nobody`, as the one refuses root, and the other would let root in.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import free_port
from recipes import recipe

HOST = "127.0.0.1"
PASSWORD = "a-password-of-24-letters"  # of all that has one here: it may stand in no file of a project
KEY = "the-key-of-the-tests"
USER = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
AS_USER: dict[str, Any] = {}  # what a process has to be started with to be that user's
if os.geteuid() == 0:
    AS_USER = {"user": USER.pw_uid, "group": USER.pw_gid, "extra_groups": []}
PROGRAM_FOLDERS = (Path(sys.executable).parent, Path("/usr/sbin"), *Path("/usr/lib/postgresql").glob("*/bin"))
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "AWS_"))}


def program(name: str) -> str:
    """Return the path of a server's program, or skip the test."""
    places = os.pathsep.join([*map(str, PROGRAM_FOLDERS), os.environ["PATH"]])
    path = shutil.which(name, path=places)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def needs(*modules: str) -> None:
    """Skip the test where a library of requirements-remote.txt is missing."""
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -r requirements-remote.txt")


@contextmanager
def served(
    command: Sequence[str], folder: Path, answers: Callable[[], bool], seconds: float = 120.0, **options: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in a process group of its own while the block runs; it answers when the block begins."""
    with (folder / f"{Path(command[0]).name}.log").open("ab") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
        )
    try:
        end = time.monotonic() + seconds
        while not answers():
            assert server.poll() is None, Path(log.name).read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < end, f"{command[0]} did not answer in {seconds:g} s"
            time.sleep(0.2)
        yield server
    finally:
        kill(server)


def kill(server: "subprocess.Popen[bytes]") -> None:
    """End a server and its workers at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(60)


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder of the user that the servers run as, with no folder above it that is root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="gptmodel-service-"))
    os.chown(folder, USER.pw_uid, USER.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL, whose owner is `mlflow`."""

    port: int

    def address(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://mlflow:{password}@{HOST}:{self.port}/{database}"

    def create(self, database: str) -> None:
        """Create an empty database."""
        self.told(f"CREATE DATABASE {database}")

    def told(self, command: str) -> None:
        """Run a command that has no answer."""
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(command)  # type: ignore[call-overload]

    def asked(self, database: str, question: str) -> list[Any]:
        """Return the rows that a question has as its answer."""
        import psycopg

        with psycopg.connect(self.address(database)) as connection:
            return connection.execute(question).fetchall()  # type: ignore[call-overload, no-any-return]


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Serve an empty PostgreSQL that asks for passwords."""
    needs("psycopg")
    initdb, server, asks = program("initdb"), program("postgres"), program("pg_isready")
    with own_folder() as folder:
        secret, data, port = folder / "secret", folder / "data", free_port()
        secret.write_text(PASSWORD, encoding="utf-8")
        options = ["--username", "mlflow", "--pwfile", str(secret), "--auth", "scram-sha-256", "--no-sync"]
        subprocess.run(
            [initdb, "--pgdata", str(data), *options], cwd=folder, capture_output=True, check=True, **AS_USER
        )

        def answers() -> bool:
            return subprocess.run([asks, "-h", HOST, "-p", str(port), "-q"], check=False).returncode == 0

        command = [server, "-D", str(data), "-h", HOST, "-p", str(port), "-k", "", "-F"]
        with served(command, folder, answers, **AS_USER):
            yield Postgres(port)


@dataclass(frozen=True)
class Store:
    """A running S3 server, which makes a bucket when something is put there, and who may use it."""

    endpoint: str
    bucket: str

    @property
    def login(self) -> dict[str, str]:
        """What the environment has to have for it."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_DEFAULT_REGION": "us-east-1"}

    @property
    def client(self) -> Any:
        import boto3

        login = {"aws_access_key_id": KEY, "aws_secret_access_key": PASSWORD, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **login)

    def files(self, prefix: str) -> list[str]:
        """Return the names of the files in the bucket that begin so."""
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)["Contents"]]


@contextmanager
def s3() -> Iterator[Store]:
    """Serve S3 with one login."""
    needs("boto3", "s3fs")
    weed = program("weed")
    with own_folder() as folder:
        port, command = free_port(), [weed, "server", "-s3", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={folder}"]
        command += ["-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
        command += [f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0"]  # else it takes two fixed ports too
        command += [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
        command += [f"-{part}.port.grpc={free_port()}" for part in ("master", "volume", "filer", "s3")]
        store = Store(f"http://{HOST}:{port}", "models")
        with served(command, folder, lambda: _takes(store), env=CLEAN | store.login | {"TMPDIR": str(folder)}):
            yield store


def _takes(store: Store) -> bool:
    if status(store.endpoint) is None:
        return False
    try:
        store.client.put_object(Bucket=store.bucket, Key="begun", Body=b"")  # its parts find each other some time later
    except Exception:  # boto3 makes its errors as it goes
        return False
    return True


def status(url: str) -> int | None:
    """Return the status that a server answers with; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@dataclass(frozen=True)
class Ssh:
    """A running SSH server, the file with the key that it lets in, and a folder there."""

    user: str
    port: int
    key: Path
    folder: Path


SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM {pam}
PidFile none
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


@contextmanager
def ssh() -> Iterator[Ssh]:
    """Serve files over SSH to whoever has the key."""
    needs("dvc_ssh")
    sshd, keygen = program("sshd"), program("ssh-keygen")
    with own_folder() as folder:
        for name in ("host", "key"):
            words = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True, **AS_USER)
        port, pam = free_port(), "yes" if AS_USER else "no"  # without it, `nobody` counts as locked out
        (folder / "config").write_text(SSHD.format(port=port, folder=folder, pam=pam), encoding="utf-8")
        command = [sshd, "-D", "-e", "-f", str(folder / "config")]
        (folder / "store").mkdir()
        os.chown(folder / "store", USER.pw_uid, USER.pw_gid)
        with served(command, folder, lambda: _listens(port), **AS_USER):
            yield Ssh(USER.pw_name, port, folder / "key", folder / "store")


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=2):
            return True
    except OSError:
        return False


@dataclass
class MlflowServer:
    """The MLflow server of docs/REMOTE.md, that can be killed and started again."""

    uri: str
    database: Postgres
    store: Store
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def login(self) -> dict[str, str]:
        """What the environment of a client has to have."""
        name = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        return {"MLFLOW_TRACKING_URI": self.uri, **name}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the commands of the page while the block does."""
        names = {
            "postgresql://mlflow:PASSWORD@127.0.0.1:5432/mlflow": self.database.address("mlflow"),
            "ADMIN-PASSWORD": PASSWORD,
            "ANY-LONG-RANDOM-TEXT": "any long random text".replace(" ", "-"),
            "http://127.0.0.1:8333": self.store.endpoint,
            "=KEY ": f"={KEY} ",
            "=SECRET": f"={PASSWORD}",
            "s3://BUCKET": f"s3://{self.store.bucket}",
            "--port 5000": f"--port {self.uri.rpartition(':')[2]}",
        }
        script = recipe("An MLflow server with a login", names, block=2).replace("mlflow server", "exec mlflow server")
        script = f"{script.rstrip()} --workers 1"  # which starts in half the time
        with served(
            ["bash", "-c", script],
            self.folder,
            lambda: status(f"{self.uri}/health") == 200,
            env=CLEAN | _quick(),
        ) as self.process:
            yield

    def kill(self) -> None:
        """End it without a word."""
        assert self.process is not None
        kill(self.process)


def _quick() -> Mapping[str, str]:
    """Return what lets the server start sooner: it runs no jobs, and sends nothing anywhere."""
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return settings | {"PATH": path, "AWS_DEFAULT_REGION": "us-east-1"}
