"""Several processes train one model, are killed, stopped, hung and given other inputs: the bytes stay those of one."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from attempts import ROOT
from projects import JOURNAL_ONLY, Outcome, Project, new_project, points

PARTS = {"parts": 2, "max_iters": 150, "eval_interval": 25}
TWO = ("-S", "runtime.processes=2", "-S", "runtime.mlflow=false")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
LAUNCHER = f"runtime.launcher={' '.join(TORCHRUN)} --standalone --nproc-per-node 2"
LAUNCHED = ("-S", LAUNCHER, "-S", "runtime.mlflow=false")
PATIENCE = 240.0


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after a training by one process; do not change it."""
    project = new_project(tmp_path_factory.mktemp("one") / "project", train=PARTS)
    project.succeed("train", injuries=JOURNAL_ONLY)
    return project


@pytest.fixture
def project(by_one: Project, tmp_path: Path) -> Project:
    """The same project, not trained yet."""
    return untrained(by_one, tmp_path / "project")


def untrained(by_one: Project, folder: Path) -> Project:
    for name in ("params.yaml", "data", "metrics"):
        copy = shutil.copytree if (by_one.folder / name).is_dir() else shutil.copy
        folder.mkdir(exist_ok=True)
        copy(by_one.folder / name, folder / name)
    return Project(folder)


@contextmanager
def started(folder: Path, *words: str, before: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A training under way; none of its processes is left at the end."""
    command = [*(before or [sys.executable]), "-m", "stages.train", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, **streams) as process:  # type: ignore[call-overload]
        family = psutil.Process(process.pid)
        try:
            yield process
        finally:
            for member in [*processes_of(family), family]:
                if member.is_running():
                    member.kill()


def processes_of(family: psutil.Process) -> list[psutil.Process]:
    try:
        return sorted(family.children(recursive=True), key=lambda process: process.pid)
    except psutil.NoSuchProcess:
        return []


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The status and what was said on stderr."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def trained(folder: Path, *words: str) -> str:
    """Train to the end, and return what was said on stderr."""
    with started(folder, *words) as process:
        status, said = ended(process)
    assert status == 0, said
    return said


def ranks_at(process: "subprocess.Popen[str]", folder: Path, iteration: int) -> list[psutil.Process]:
    """The processes that train, behind torchrun if it is there, once there is a snapshot of that iteration or later."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if newest(folder) >= iteration:
            return [each for each in processes_of(psutil.Process(process.pid)) if "stages.train" in each.cmdline()]
        time.sleep(0.01)
    raise AssertionError(process.communicate())


def newest(folder: Path) -> int:
    """The iteration of the newest snapshot, 0 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("runs/*/snapshot-*.pt")), default=0)


def test_two_processes_leave_what_one_leaves(project: Project, by_one: Project) -> None:
    said = trained(project.folder, "-S", "runtime.processes=2")
    assert said.count("training ") == 1, said  # the first process alone tells
    assert " of memory for 2 processes here (" in said
    assert project.outcome() == by_one.outcome()
    assert project.leftovers() == []
    (journal,), (journal_of_one,) = project.journals, by_one.journals
    assert points(journal) == points(journal_of_one)


@pytest.mark.slow
def test_two_processes_end_early_with_the_best_weights_as_one_does(tmp_path: Path) -> None:
    ends = {"max_iters": 60, "eval_interval": 3, "lr_schedule": "constant", "keep": "best", "patience": 5}
    one, two = (new_project(tmp_path / name, train={"parts": 2, "learning_rate": 0.2, **ends}) for name in "12")
    one.succeed("train", injuries=JOURNAL_ONLY)
    trained(two.folder, *TWO)
    assert two.outcome() == one.outcome()
    assert 0 < two.outcome().metrics["kept_iteration"] < two.outcome().metrics["iterations"] < 60


def test_a_killed_process_ends_the_training_with_a_line_and_the_next_one_goes_on(
    project: Project, by_one: Project
) -> None:
    with started(project.folder, *TWO) as process:
        ranks_at(process, project.folder, 5)[1].kill()
        status, said = ended(process)
    assert status == 2, said
    line = "error: process 1 of 2 (counted from 0) was ended by SIGKILL; what was saved last is kept: run the same"
    assert line in said.splitlines()[-1]
    assert "Traceback" not in said
    assert "continued from iteration" in trained(project.folder, *TWO)
    assert project.outcome() == by_one.outcome()


@pytest.mark.slow
def test_with_restarts_a_killed_process_costs_time_only(project: Project, by_one: Project) -> None:
    with started(project.folder, *TWO, "-S", "runtime.restarts=1") as process:
        ranks_at(process, project.folder, 5)[0].kill()
        status, said = ended(process)
    assert status == 0, said
    assert "continued from iteration" in said
    assert project.outcome() == by_one.outcome()


@pytest.mark.slow
def test_when_all_are_killed_one_process_goes_on(project: Project, by_one: Project) -> None:
    with started(project.folder, *TWO) as process:
        for each in [psutil.Process(process.pid), *ranks_at(process, project.folder, 5)]:
            each.kill()
        assert ended(process)[0] == -signal.SIGKILL
    assert "continued from iteration" in trained(project.folder, "-S", "runtime.mlflow=false")
    assert project.outcome() == by_one.outcome()


def test_when_the_starting_process_is_killed_the_others_save_and_end(project: Project) -> None:
    with started(project.folder, *TWO) as process:
        ranks = ranks_at(process, project.folder, 5)
        process.kill()
        assert not psutil.wait_procs(ranks, timeout=60)[1]
    assert project.snapshots


@pytest.mark.slow
def test_when_the_starting_process_is_killed_at_once_nothing_is_trained(project: Project) -> None:
    """The others have not heard of it: they still import torch."""
    with started(project.folder, *TWO) as process:
        while len(ranks := processes_of(psutil.Process(process.pid))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert not psutil.wait_procs(ranks, timeout=PATIENCE)[1]
    assert not project.model.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_all(project: Project, by_one: Project, number: signal.Signals, status: int) -> None:
    with started(project.folder, *TWO) as process:
        ranks_at(process, project.folder, 5)
        process.send_signal(number)
        code, said = ended(process)
    assert code == status, said
    assert said.count("stopped at iteration") == 1
    assert "Traceback" not in said
    trained(project.folder, *TWO)
    assert project.outcome() == by_one.outcome()


@pytest.mark.slow
def test_a_process_that_hangs_is_given_up(project: Project, by_one: Project) -> None:
    with started(project.folder, *TWO, "-S", "runtime.rank_timeout=4") as process:
        ranks_at(process, project.folder, 5)[1].suspend()
        status, said = ended(process)
    assert status == 2, said
    assert "error: another process of this training has ended, or does not answer" in said
    assert "Traceback" not in said
    trained(project.folder, *TWO)
    assert project.outcome() == by_one.outcome()


def node(number: int, port: int) -> list[str]:
    """The launcher of one of two machines."""
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "t", "--local-addr"]
    return [*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", *where, "127.0.0.1", "--node-rank", str(number)]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_two_machines_train_one_model(project: Project, by_one: Project, tmp_path: Path) -> None:
    """Two launchers, each in a clone of its own with the same data."""
    other, port = untrained(by_one, tmp_path / "other"), free_port()
    with (
        started(project.folder, "-S", "runtime.mlflow=false", before=node(0, port)) as first,
        started(other.folder, "-S", "runtime.mlflow=false", before=node(1, port)) as second,
    ):
        assert (ended(first)[0], ended(second)[0]) == (0, 0)
    models = [each.model for each in (project, other) if each.model.exists()]
    assert len(models) == 1  # whichever machine the launchers made the first
    assert Project(models[0].parents[1]).outcome() == by_one.outcome()


def differs(there: Project, what: str) -> list[str]:
    """Let a machine have other data, code or settings, and return the words of its command that say so."""
    if what == "data":
        there.run("prepare", "-S", "prepare.train_fraction=0.8")
    if what == "code":
        for name in ("gptmodel", "stages"):
            shutil.copytree(ROOT / name, there.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "requirements.txt"):
            shutil.copy(ROOT / name, there.folder / name)
        with (there.folder / "gptmodel" / "nn" / "block.py").open("a") as code:
            code.write("# another comment\n")
    return ["-S", "train.seed=7"] if what == "settings" else []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        pytest.param(
            "data",
            "another data/prepared than the first; run `dvc pull data/prepared` there, or share the folder",
            marks=pytest.mark.slow,
        ),
        pytest.param("code", "other code than the first; check out the same commit there", marks=pytest.mark.slow),
        pytest.param(
            "settings",
            "other settings of model or train than the first; bring its params.yaml and -S in line",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_machine_that_differs_is_refused(
    project: Project, by_one: Project, tmp_path: Path, what: str, line: str
) -> None:
    there, port = untrained(by_one, tmp_path / "there"), free_port()
    words = ["-S", "runtime.mlflow=false"]
    with (
        started(project.folder, *words, before=node(0, port)) as first,
        started(there.folder, *words, *differs(there, what), before=node(1, port)) as second,
    ):
        (status, said), (status_there, said_there) = ended(first), ended(second)
    assert (status, status_there) == (1, 1)  # torchrun's own
    lines = [*said.splitlines(), *said_there.splitlines()]
    assert lines.count(f"error: process 1 of 2 (counted from 0) has {line}") == 1, lines
    assert [each.model.exists() for each in (project, there)] == [False, False]


@pytest.mark.slow
def test_what_a_launcher_started_is_stopped_and_killed_and_goes_on_to_its_end(
    project: Project, by_one: Project
) -> None:
    """A signal to the stage, a kill of a process that trains, and one of the stage, each at a later iteration."""
    with started(project.folder, *LAUNCHED) as process:
        ranks_at(process, project.folder, 5)
        process.send_signal(signal.SIGTERM)
        status, said = ended(process)
    assert status == 143, said
    assert said.count("stopped at iteration") == 1
    assert said.splitlines()[-1] == "stopped by SIGTERM; run the same command to go on"
    with started(project.folder, *LAUNCHED) as process:
        ranks_at(process, project.folder, newest(project.folder) + 5)[-1].kill()
        status, said = ended(process)
    assert status == 2, said
    line = f"error: runtime.launcher: {sys.executable} ended with status 1 (see above); what was saved last is kept"
    assert said.splitlines()[-1] == f"{line}: run the same command to go on"
    with started(project.folder, *LAUNCHED) as process:
        family = ranks_at(process, project.folder, newest(project.folder) + 5)
        process.kill()
        assert not psutil.wait_procs(family, timeout=60)[1]
    assert len(family) == 3, family
    assert project.snapshots
    assert "continued from iteration" in trained(project.folder, *LAUNCHED)
    assert project.outcome() == by_one.outcome()


@pytest.mark.slow
def test_a_launcher_that_fails_or_is_not_there_gets_a_line(project: Project) -> None:
    for launcher, line in (
        ("false", "error: runtime.launcher: false ended with status 1"),
        ("x $NOWHERE", "error: runtime.launcher: $NOWHERE is not set in the environment"),
        ("'x", "error: runtime.launcher = 'x: no closing quotation; correct it"),
        ("no-such-program", "error: runtime.launcher: no-such-program: No such file or directory; install it, or"),
    ):
        with started(project.folder, "-S", f"runtime.launcher={json.dumps(launcher)}") as process:
            status, said = ended(process)
        assert (status, line in said.splitlines()[-1]) == (2, True), said


def test_a_launcher_that_is_not_torchrun_does_not_start_itself_again(project: Project) -> None:
    with started(project.folder, "-S", f"runtime.launcher={sys.executable}") as process:
        status, said = ended(process)
    assert status == 2
    assert said.count("error: runtime.launcher: has to end with torchrun and its options, which it did not start") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_kills_of_random_processes(project: Project, by_one: Project) -> None:
    chooser, kills = random.Random(int(os.environ.get("KILL_SEED", "20261127"))), 0
    while kills < 30:
        with started(project.folder, *TWO, "-S", "train.max_iters=3000") as process:
            ranks = ranks_at(process, project.folder, 1)
            time.sleep(chooser.uniform(0.0, 1.0))
            chooser.choice([psutil.Process(process.pid), *ranks]).kill()
            assert ended(process)[0] != 0
            psutil.wait_procs(ranks, timeout=60)
        kills += 1
    trained(project.folder, *TWO, "-S", "train.max_iters=3000")
    expected: Outcome = untrained_outcome(by_one, project.folder.parent / "expected")
    assert project.outcome() == expected


def untrained_outcome(by_one: Project, folder: Path) -> Outcome:
    other = untrained(by_one, folder)
    other.succeed("train", "-S", "train.max_iters=3000", injuries=JOURNAL_ONLY)
    return other.outcome()
