"""`gptmodel doctor`: what a kill really leaves is found, explained and mended; what lives is left alone."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from committed_project import ENVIRONMENT, call, good, gptmodel, set_params
from filelock import FileLock
from model_helpers import ROOT

from gptmodel.doctor.environment import environment
from gptmodel.doctor.leftovers import _temporary_files, leftovers


def findings(project: Path, *words: str) -> tuple[int, list[str]]:
    result = gptmodel(project, "doctor", *words)
    assert result.returncode in (0, 2), result.stderr
    return result.returncode, result.stdout.splitlines()


def one(lines: list[str], word: str) -> str:
    (match,) = [line for line in lines if word in line]
    return match


def rwlock(project: Path, pid: int, out: str = "models/model.pth") -> Path:
    path = project / ".dvc" / "tmp" / "rwlock"
    info = {"pid": pid, "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {str(project / out): info}, "read": {str(project / "dvc.yaml"): [info]}}))
    return path


def make_old(path: Path) -> None:
    """Let a file be one of an hour ago."""
    then = time.time() - 3600
    os.utime(path, (then, then))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@contextmanager
def repro_in_training(project: Path) -> Iterator[tuple[int, int]]:
    """Give the ids of a `dvc repro` and of its train stage; both are gone afterwards."""
    set_params(project, "max_iters=2000000", "eval_interval=100000")
    running = subprocess.Popen(
        ["dvc", "repro", "--quiet"], cwd=project, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stage = 0
    try:
        until = time.monotonic() + 120
        while not list((project / "runs").glob("*/journal")):
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.2)
        children = call(project, "ps", "-o", "pid=,args=", "--ppid", str(running.pid)).stdout
        stage = int(re.search(r"(\d+) python -m stages\.train", children)[1])  # type: ignore[index]
        yield running.pid, stage
    finally:
        for pid in filter(None, (running.pid if running.poll() is None else 0, stage)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.wait()


def test_the_code_of_another_checkout_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "gptmodel").mkdir()
    (tmp_path / "gptmodel" / "__init__.py").touch()
    notes = [finding.text for finding in environment(tmp_path) if finding.status == "note"]
    assert f"`gptmodel` runs the code in {ROOT}, but dvc.yaml's stages run the code here" in "".join(notes)
    assert "dvc.yaml's stages" not in "".join(finding.text for finding in environment(ROOT))


def test_a_sound_project_has_no_problems(project: Path) -> None:
    status, lines = findings(project)
    assert status == 0
    assert not [line for line in lines if line.startswith("problem")]
    assert len([line for line in lines if line.startswith("ok")]) >= 8
    assert "no path is locked" in "".join(lines)


@pytest.mark.slow
def test_a_killed_repro_is_explained_and_mended(project: Path) -> None:
    with repro_in_training(project) as (pid, stage):
        status, lines = findings(project)
        assert f"PID {pid}) is running and has locked its files: let it finish" in one(lines, "is running and has")
        before = (project / ".dvc" / "tmp" / "rwlock").read_text()
        findings(project, "--mend")
        assert json.loads((project / ".dvc" / "tmp" / "rwlock").read_text()) == json.loads(before)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        os.waitpid(pid, os.WNOHANG)
        status, lines = findings(project)
        assert status == 2
        assert f"(PID {pid})" in one(lines, "DVC still has locks of killed processes")
        finding = one(lines, "is still running after the dvc that started it was killed")
        assert finding.startswith("problem")
        assert f"`kill {stage}`" in finding
        os.kill(stage, signal.SIGTERM)
        until = time.monotonic() + 20
        while "is still running" in "".join(lines) and time.monotonic() < until:
            status, lines = findings(project)
        assert status == 0
        assert "a training stopped at iteration" in "".join(lines)
        status, lines = findings(project, "--mend")
        assert f"mended   the locks of PID {pid} are gone" in lines
        assert json.loads((project / ".dvc" / "tmp" / "rwlock").read_text()) == {}
    set_params(project, "max_iters=20", "eval_interval=10")
    good(project, "dvc", "repro", "--quiet")


def test_the_locks_of_the_living_are_kept(project: Path) -> None:
    path = rwlock(project, os.getpid())
    before = path.read_text()
    status, lines = findings(project, "--mend")
    assert status == 0
    assert "is no longer DVC" in one(lines, "is running and has")
    assert json.loads(path.read_text()) == json.loads(before)


def test_dead_and_living_are_told_apart(project: Path) -> None:
    path = rwlock(project, dead_pid())
    locks = json.loads(path.read_text())
    own_lock = {"pid": os.getpid(), "cmd": "dvc status"}
    locks["read"]["x"] = [own_lock]
    locks["read"][str(project / "dvc.yaml")].append(own_lock)
    path.write_text(json.dumps(locks))
    findings(project, "--mend")
    assert json.loads(path.read_text()) == {"read": {"x": [own_lock], str(project / "dvc.yaml"): [own_lock]}}


def test_an_id_that_another_process_has_now_is_a_problem_that_dvc_cannot_see(project: Path) -> None:
    with (project / "params.yaml").open("a") as stream:
        stream.write("# changed\n")
    set_params(project, "train_fraction=0.8")
    path = rwlock(project, os.getpid(), "data/prepared")
    os.utime(path, (1, 1))  # long before this process began
    blocked = call(project, "dvc", "repro", "prepare")
    assert blocked.returncode != 0
    assert "blocked by" in blocked.stderr
    os.utime(path, (1, 1))
    status, lines = findings(project)
    assert status == 2
    assert one(lines, "another process now has its id").startswith("problem")
    status, lines = findings(project, "--mend")
    assert status == 0
    assert json.loads(path.read_text()) == {}
    good(project, "dvc", "repro", "--quiet", "prepare")


@pytest.mark.parametrize("text", ["", '{"write": {"a', "[1]", '{"read": {"a": [{"pid": 1}]}}'])
def test_a_lock_file_that_a_kill_cut_off_is_a_problem_and_mended(text: str, project: Path) -> None:
    path = project / ".dvc" / "tmp" / "rwlock"
    path.write_text(text)
    status, lines = findings(project)
    assert status == 2
    assert one(lines, "cut off by a kill").startswith("problem")
    status, lines = findings(project, "--mend")
    assert status == 0
    assert not path.exists()


def test_half_written_files_are_removed_unless_fresh_open_or_the_users(project: Path) -> None:
    names = ["data/.input.txt.abcd_1xy.tmp", "runs/0123456789abcdef/.snapshot-1.pt.abcdefgh.tmp"]
    others = [
        "models/.model.pth.freshone.tmp",
        "metrics/.a.json.opened12.tmp",
        "data/mine.tmp",
        "notes/.a.abcdefgh.tmp",
    ]
    for name in (*names, *others):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("half")
        if "freshone" not in name:
            make_old(project / name)
    with (project / "metrics/.a.json.opened12.tmp").open():
        status, lines = findings(project)
        assert status == 0
        assert names[0] in one(lines, "half-written")
        assert (project / names[0]).exists()
        status, lines = findings(project, "--mend")
        assert "mended   removed 2 half-written files" in lines
    assert [name for name in (*names, *others) if (project / name).exists()] == others


def test_half_written_folders_are_told_and_left_alone(tmp_path: Path) -> None:
    """An export at work may have no file open for minutes; a killed one left gigabytes, and --mend failed on it."""
    names = [".hf.0a1b2c3d.tmp", "models/.onnx.0a1b2c3d.tmp", "runs/tracking/0f/files/tmp-0a1b2c3d"]
    for name in (*names, "models/.new.0a1b2c3d.tmp"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "weights").write_bytes(b"x" * 1000)
    assert "folders that" not in "".join(finding.text for finding in leftovers(tmp_path))
    for name in names:
        make_old(tmp_path / name)
    found = [finding for finding in leftovers(tmp_path) if names[0] in finding.text]
    text = f"folders that a running or killed command writes (3 kB): {', '.join(names)}; "
    assert [(each.text, each.mend) for each in found] == [
        (f"{text}if no export and no stage is running, remove them", None)
    ]


def test_a_file_that_takes_its_place_meanwhile_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    gone = tmp_path / "runs" / ".snapshot-1.pt.0a1b2c3d.tmp"
    monkeypatch.setattr(Path, "rglob", lambda *_: iter([gone]))
    assert [finding.text for finding in _temporary_files(tmp_path)] == ["no half-written files"]


def test_trainings_are_listed_and_never_removed(project: Path) -> None:
    folder = project / "runs" / "0123456789abcdef"
    folder.mkdir(parents=True)
    for number in (100, 200):
        (folder / f"snapshot-{number:010d}.pt").write_bytes(b"x" * 1000)
        make_old(folder / f"snapshot-{number:010d}.pt")
    status, lines = findings(project, "--mend")
    assert status == 0
    assert re.search(r"stopped at iteration 200 6\d minutes ago \(2 kB\)", one(lines, "0123456789abcdef"))
    assert len(list(folder.iterdir())) == 2
    assert "`gptmodel doctor --free 0123456789abcdef`" in one(lines, "0123456789abcdef")
    with FileLock(project / "runs" / "0123456789abcdef.lock"):
        assert "a training is under way" in one(findings(project)[1], "0123456789abcdef")
    assert "DVC's cache takes" in "".join(lines)


def test_what_mlflow_was_not_sent_is_counted_and_not_changed(project: Path) -> None:
    for key, status in (("a", "FINISHED"), ("b", "FINISHED"), ("c", "RUNNING")):
        folder = project / "runs" / "tracking" / key
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text(json.dumps({"kind": "status", "value": status, "ms": 1}) + "\n")
    before = {path: path.read_bytes() for path in (project / "runs" / "tracking").rglob("*") if path.is_file()}
    status_code, lines = findings(project, "--mend")
    assert status_code == 0
    assert one(lines, "not fully sent to MLflow: 2;")
    assert one(lines, "still RUNNING in MLflow: 1;")
    assert before == {path: path.read_bytes() for path in (project / "runs" / "tracking").rglob("*") if path.is_file()}


def test_what_is_wrong_around_the_project_is_a_problem(project: Path) -> None:
    (project / "mlruns" / "0").mkdir(parents=True)
    (project / "mlruns" / "0" / "meta.yaml").write_text("")
    text = (project / "requirements.txt").read_text()
    (project / "requirements.txt").write_text(re.sub(r"(?m)^(torch|dvc)==.*", r"\1==1.0", text))
    (project / "dvc.lock").write_text("stages:\n<<<<<<< HEAD\n  a: b\n")
    with sqlite3.connect(project / "mlflow.db") as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values ('451aebb31d03')")
    status, lines = findings(project)
    assert status == 2
    problems = [line for line in lines if line.startswith("problem")]
    assert len(problems) == 4, problems
    for word in (
        "mlruns/ holds",
        "torch 2.13.0 instead of 1.0",
        "dvc.lock: not valid YAML: line 2: git left",
        "mlflow db upgrade",
    ):
        assert one(problems, word)


def test_a_path_without_the_environment_is_a_problem(project: Path) -> None:
    folder = project / "bin"
    folder.mkdir()
    (folder / "git").symlink_to(str(shutil.which("git")))
    command = [sys.executable, "-m", "stages.cli", "doctor"]
    environment = ENVIRONMENT | {"PATH": str(folder)}
    result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert one(result.stdout.splitlines(), "`python` is not on the PATH").startswith("problem")


def test_what_a_killed_verify_left_is_removed(project: Path, tmp_path: Path) -> None:
    tree = tmp_path / f"gptmodel-verify-{dead_pid()}-x" / "tree"
    living = tmp_path / f"gptmodel-verify-{os.getpid()}-x" / "tree"
    for path in (tree, living):
        good(project, "git", "worktree", "add", "--quiet", "--detach", str(path))
    assert str(tree) in one(findings(project)[1], "a killed `gptmodel verify` left")
    findings(project, "--mend")
    assert (tree.exists(), living.exists()) == (False, True)
    assert str(tree) not in good(project, "git", "worktree", "list")


def test_the_help_is_fast_and_imports_nothing_heavy(project: Path) -> None:
    for command in ("doctor", "verify"):
        code = (
            "import sys; from stages.cli import app\n"
            f"app(['{command}', '--help'], standalone_mode=False)\n"
            "assert not {'torch', 'mlflow', 'dvc', 'psutil', 'ruamel.yaml'} & set(sys.modules)"
        )
        assert f"{command} [OPTIONS]" in good(project, sys.executable, "-c", code)


FROM_PYTHON = """
import sys
sys.path.insert(0, "project")
from pathlib import Path
from gptmodel.doctor.examination import examine

findings = list(examine(Path("project")))
for finding in findings:
    print(finding.status, finding.text, finding.mend() if finding.mend else "")
loaded = {name.partition(".")[0] for name in sys.modules}
assert not {"stages", "typer", "rich", "torch"} & loaded
"""


def test_from_python_a_finding_is_mended_by_a_call_and_the_command_line_is_not_imported(project: Path) -> None:
    (project / ".dvc" / "tmp" / "rwlock").write_text("cut")
    lines = good(project.parent, sys.executable, "-c", FROM_PYTHON).splitlines()
    assert one(lines, "cut off by a kill").endswith("removed .dvc/tmp/rwlock")
    assert not (project / ".dvc" / "tmp" / "rwlock").exists()
    assert not [line for line in lines if line.startswith("problem") and "cut off" not in line]
