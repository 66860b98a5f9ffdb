"""A study in PostgreSQL, which workers in two clones share as on two machines."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from attempts import ROOT, Attempt
from projects import Project, new_project
from real_servers import CLEAN, HOST, PASSWORD, Postgres, program
from tuning_helpers import FEW, SHORT, new_search, settings_of, trained_by, write_search

from gptmodel.tuning.search import read_search
from gptmodel.tuning.study import Study

pytestmark = pytest.mark.services
STEP = "gptmodel.training.step:training_step"
UNTRACKED = {"mlflow": False}
QUICK = {"quick_heartbeats": {"every": 0.5, "grace": 3}}


@pytest.fixture
def clones(tmp_path: Path) -> tuple[Project, Project]:
    one, other = (new_project(tmp_path / name, train=SHORT, runtime=UNTRACKED) for name in ("one", "other"))
    for clone in (one, other):
        write_search(clone.folder)
    return one, other


def address(database: Postgres, name: str) -> str:
    database.create(name)
    return database.address(name)


def held(project: Project, mark: Path, storage: str, call: int) -> Attempt:
    moment = {"place": STEP, "call": call, "mark": str(mark)}
    attempt = project.start("tune", injuries={**QUICK, "wait_inside": moment}, OPTUNA_STORAGE=storage)
    while not mark.exists():
        attempt.listen(0.05)
        assert attempt.status is None, attempt.error
    return attempt


def hold_no_password(*projects: Project) -> None:
    for project in projects:
        for attempt in project.attempts:
            assert PASSWORD not in attempt.output + attempt.error
        for path in project.folder.rglob("*"):
            assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


def test_the_page_makes_the_database(database: Postgres) -> None:
    page = (ROOT / "docs" / "TUNING.md").read_text(encoding="utf-8")
    _, *words = re.findall(r"exec postgres (createdb .*)", page)[0].split()
    here = {"PGHOST": HOST, "PGPORT": str(database.port), "PGPASSWORD": PASSWORD}
    subprocess.run([program("createdb"), *words], env=CLEAN | here, check=True)
    assert database.asked("studies", "SELECT current_database()") == [("studies",)]


def test_a_worker_killed_on_another_machine(
    database: Postgres, clones: tuple[Project, Project], tmp_path: Path
) -> None:
    """Its trial is finished where its lock and its snapshots are not; the study is that of a worker alone."""
    storage, (one, other) = address(database, "killed"), clones
    killed = held(one, tmp_path / "mark", storage, 12)
    killed.signal(signal.SIGKILL)
    killed.wait()
    time.sleep(4.5)
    other.succeed("tune", injuries=QUICK, OPTUNA_STORAGE=storage)
    best = one.succeed("tune", "--best", OPTUNA_STORAGE=storage)
    assert best.output.startswith("-S train.learning_rate=")
    alone = new_search(tmp_path / "alone", UNTRACKED)
    alone.succeed("tune")
    shared = Study(storage, read_search(other.folder / "tune.yaml"))
    assert [(row.state, row.iteration, row.val_loss, dict(row.values)) for row in shared.rows()] == settings_of(alone)
    hold_no_password(one, other)


def test_workers_on_two_machines_train_no_settings_twice(database: Postgres, clones: tuple[Project, Project]) -> None:
    storage = address(database, "shared")
    for clone in clones:
        write_search(clone.folder, **FEW)
    workers = [clone.start("tune", OPTUNA_STORAGE=storage) for clone in (*clones, clones[0])]
    assert [worker.wait() for worker in workers] == [0, 0, 0], [worker.error for worker in workers]
    trained = trained_by(*workers)
    assert len(trained) == len({*trained}) >= 4
    hold_no_password(*clones)


def test_a_database_that_is_away(database: Postgres, clones: tuple[Project, Project], tmp_path: Path) -> None:
    """A trial under way is saved and the worker ends with a line; with the database back, it goes on."""
    storage, project, mark = address(database, "away"), clones[0], tmp_path / "mark"
    shown = storage.replace(f"mlflow:{PASSWORD}@", "")
    worker = held(project, mark, storage, 4)
    database.told("ALTER DATABASE away WITH ALLOW_CONNECTIONS false")
    database.told("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'away'")
    mark.unlink()
    assert worker.wait() == 2
    line = worker.error.splitlines()[-1]
    assert line.startswith(f"error: the studies at {shown}: ")
    assert "not currently accepting connections" in line
    assert line.endswith("nothing is lost: mend that, and run the same command again")
    assert "Traceback" not in worker.error
    (snapshot, *_) = sorted(project.snapshots, reverse=True)
    assert int(re.sub(r"\D", "", snapshot.name)) >= 4
    again = project.run("tune", OPTUNA_STORAGE=storage)
    assert again.status == 2
    database.told("ALTER DATABASE away WITH ALLOW_CONNECTIONS true")
    project.succeed("tune", OPTUNA_STORAGE=storage)
    status = project.succeed("tune", "--status", OPTUNA_STORAGE=storage)
    assert status.output.startswith("study tiny: 5 of 5 trials: ")
    assert "under way" not in status.output
    hold_no_password(project)


def test_what_is_no_database_for_studies(database: Postgres, clones: tuple[Project, Project]) -> None:
    project, storage = clones[0], address(database, "others")
    wrong = project.run("tune", OPTUNA_STORAGE=database.address("others", "another-password"))
    assert wrong.status == 2
    assert 'password authentication failed for user "mlflow"' in wrong.error
    assert "another-password" not in wrong.error
    project.succeed("train", "-S", "runtime.mlflow=true", MLFLOW_TRACKING_URI=storage)  # makes MLflow's tables there
    theirs = project.run("tune", OPTUNA_STORAGE=storage)
    assert theirs.status == 2
    assert "holds the tables of something else, such as MLflow; studies need a database of their own" in theirs.error
    assert database.asked("others", "SELECT count(*) FROM pg_tables WHERE tablename = 'studies'") == [(0,)]
    hold_no_password(project)
