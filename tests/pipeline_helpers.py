"""A project in a folder of its own: a small copy of this one, and ways to run it and to look at what it made."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from attempts import server
from made_once import made_once

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS = 240
"""No command of a tiny project takes longer."""
MADE = ("dvc.lock", "data/", "metrics/", "models/", "evaluation/", "plots/", "samples/", "reports/")
"""What the pipeline makes: a copy of the project begins without it."""
NOT_NEEDED = ("tests/", "docs/", "benchmarks/")
TRACKING = {"runs", "mlflow.db", "mlartifacts"}
"""Where a training keeps what it needs to go on, and MLflow's store."""

MLFLOW_TABLES = {"runs": "artifact_uri", "experiments": "artifact_location"}
TINY = {
    "fetch.source": "source.txt",
    "fetch.sha256": None,
    "model.block_size": 8,
    "model.n_embd": 16,
    "model.n_head": 2,
    "model.n_layer": 1,
    "train.batch_size": 4,
    "train.max_iters": 200,
    "train.eval_interval": 40,
    "train.eval_iters": 2,
    "train.parts": 1,
    "train.device": "cpu",
    "evaluate.threads": 1,
    "evaluate.device": "cpu",
    "sample.threads": 1,
    "sample.device": "cpu",
    "sample.max_new_tokens": 10,
    "sample.num_samples": 2,
    "runtime.progress": "lines",
}


class Project:
    """The folder of a project and the environment its commands run in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        outside.pop("PYTHONPATH", None)
        self.environment = outside | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site-cache"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def run(self, *command: str, status: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; it has to end with `status`, unless that is None."""
        result = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return expected(result, status)

    def dvc(self, *arguments: str, status: int | None = 0) -> str:
        """Run a dvc command and return what it said."""
        result = self.run("dvc", *arguments, status=status)
        return result.stdout + result.stderr

    def start_queue(self, jobs: int = 1) -> None:
        """Start DVC's queue. Its workers go on by themselves, and until they end they hold open what it prints to."""
        subprocess.run(
            ["dvc", "queue", "start", "--jobs", str(jobs)],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=True,
        )

    def gptmodel(self, *words: str, status: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the gptmodel command, from a process that has imported what it needs."""
        own = {key: value for key, value in self.environment.items() if os.environ.get(key) != value}
        attempt = server().start(self.root, list(words), {}, **own | environment)
        return expected(
            subprocess.CompletedProcess(words, attempt.wait(SECONDS), attempt.output, attempt.error), status
        )

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("-c", "core.hooksPath=/dev/null", "commit", "--quiet", "--allow-empty", "--message", "a commit")

    def sign(self) -> None:
        """Say who commits here; `dvc exp run` commits too."""
        self.git("config", "user.name", "A Tester")
        self.git("config", "user.email", "tester@example.com")

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def train_until_snapshot(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command that trains, and return when it has written a snapshot that was not there before."""
        before = set(self.snapshots())
        process = self.start(*command)
        wait_until(lambda: process.poll() is not None or bool(set(self.snapshots()) - before), "a snapshot", 0.003)
        assert process.poll() is None, f"ended before it wrote a snapshot:\n{process.communicate()[0]}"
        return process

    def snapshots(self) -> list[Path]:
        return sorted(self.root.glob("runs/*/snapshot-*.pt"))

    def configure(self, settings: dict[str, Any]) -> None:
        """Change settings in params.yaml, as in `{"train.seed": 2}`."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in settings.items():
            section, _, key = name.partition(".")
            assert key in values[section], name
            values[section][key] = value
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def read_json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text(encoding="utf-8"))

    def sha256(self, path: str) -> str:
        return hashlib.sha256((self.root / path).read_bytes()).hexdigest()

    def tree(self, ignore: set[str] | None = None) -> dict[str, str]:
        """Return the digest of each file, but for those of git, of DVC and of some top folders."""
        skipped = {".git", ".dvc"} | (ignore or set())
        files = [path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        names = {path.relative_to(self.root).as_posix(): path for path in files}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in names.items()
            if name.partition("/")[0] not in skipped
        }

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.root}/mlflow.db")

    def mlflow_runs(self) -> list[Any]:
        """Return all runs of the store, the oldest first."""
        client = self.client()
        numbers = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(numbers, order_by=["attributes.start_time ASC"]))

    def points(self, run: Any, key: str) -> list[tuple[int, float]]:
        """Return the points of a metric, in order of step."""
        return sorted((point.step, point.value) for point in self.client().get_metric_history(run.info.run_id, key))

    def history(self) -> list[dict[str, str]]:
        """Return the rows of metrics/history.csv."""
        head, *rows = (self.root / "metrics/history.csv").read_text(encoding="utf-8").splitlines()
        return [dict(zip(head.split(","), row.split(","), strict=True)) for row in rows]

    def copy_to(self, target: Path) -> "Project":
        """Return a copy with all that was made, whose MLflow store points to the copied artifacts."""
        shutil.copytree(self.root, target, symlinks=True)
        if (target / "mlflow.db").exists():
            with sqlite3.connect(target / "mlflow.db") as database:
                for table, column in MLFLOW_TABLES.items():
                    change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                    database.execute(change, (self.root.as_uri(), target.as_uri()))
            database.close()
        return Project(target)

    def clone_to(self, target: Path) -> "Project":
        """Return a fresh git clone: nothing that was made is there."""
        self.git("clone", "--quiet", ".", str(target))
        clone = Project(target)
        clone.sign()
        return clone

    def forget_what_was_made(self) -> None:
        """Remove all that a pipeline made, in this folder and in DVC's cache."""
        self.remove("dvc.lock", "data", "metrics", "evaluation", "models", "plots", "reports", "samples")
        self.remove(".dvc/cache", *TRACKING)

    def remove(self, *names: str) -> None:
        """Remove files and folders, where they are there."""
        for name in names:
            path = self.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def expected(result: subprocess.CompletedProcess[str], status: int | None) -> subprocess.CompletedProcess[str]:
    """Return what a command left; it has to have ended with `status`, unless that is None."""
    report = f"{' '.join(result.args)}: status {result.returncode}\n{result.stdout}\n{result.stderr}"
    assert status is None or result.returncode == status, report
    return result


def new_project(root: Path) -> Project:
    """Copy this project as it is now, changes that are not committed included, and commit the copy."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        source = REPOSITORY / name
        left_out = name.startswith(NOT_NEEDED) or (name.startswith(MADE) and source.name != ".gitignore")
        if source.is_file() and not left_out:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)
    project = Project(root)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.sign()
    return project


def text(seed: int) -> str:
    """Return some lines of invented words; its first characters are all it has."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 6))) for _ in range(60)]
    return "abcdefghij\n" + "\n".join(" ".join(draw.choices(words, k=8)) for _ in range(150)) + "\n"


def run_once(factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """Return a committed project with tiny settings, and a clone of it after `dvc repro`; do not change them.

    They are made once, and DVC takes locks whatever it does: run a command in a copy.
    """

    def make(folder: Path) -> None:
        origin = new_project(folder / "origin")
        (origin.root / "source.txt").write_text(text(0), encoding="utf-8")
        origin.configure(TINY)
        origin.commit()
        origin.clone_to(folder / "finished").dvc("repro")

    folder = made_once(factory, "pipeline", make)
    return Project(folder / "origin"), Project(folder / "finished")


def ran(output: str) -> list[str]:
    """Return the stages that a `dvc repro` ran, in order; a stage restored from the run cache is none of them."""
    return re.findall(r"^Running stage '(\w+)':", output, re.MULTILINE)


def restored(output: str) -> list[str]:
    """Return the stages whose results a `dvc repro` took from the run cache."""
    return re.findall(r"^Stage '(\w+)' is cached", output, re.MULTILINE)


def kill_group(process: "subprocess.Popen[str]") -> str:
    """Kill a process and all it started, without warning, and return what it had said."""
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate(timeout=SECONDS)[0]


def wait_until(condition: Callable[[], bool], what: str, pause: float = 0.2, seconds: float = SECONDS) -> None:
    """Return when the condition holds; an assertion fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} seconds for {what}"
        time.sleep(pause)
