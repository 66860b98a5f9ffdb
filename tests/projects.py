"""Tiny projects for whole commands, what such a command leaves behind, and what two runs must have in common."""

import csv
import hashlib
import json
import random
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from attempts import ROOT, Attempt, server

from gptmodel.tracking.journal import Journal, journals

MODEL = {"n_embd": 16, "n_layer": 1, "n_head": 2, "block_size": 16, "dropout": 0.1}
TRAIN = {"batch_size": 4, "max_iters": 24, "eval_interval": 4, "eval_iters": 2, "parts": 1, "lr_schedule": "cosine"}
RUNTIME = {"snapshot_seconds": 1e-9}  # a snapshot after every iteration
ONE_THREAD = {"threads": 1}  # two that wait for each other on busy cores take ten times as long
VOLATILE = ("seconds", "tokens_per_second")

Injuries = Mapping[str, Mapping[str, Any]]
JOURNAL_ONLY: Injuries = {"journal_only": {}}


@dataclass(frozen=True)
class Outcome:
    """All that two runs of the same training have in common."""

    model: str  # sha256
    history: list[dict[str, str]]
    metrics: dict[str, float]


@dataclass
class Project:
    """A folder with a text and settings, and all that was done in it."""

    folder: Path
    attempts: list[Attempt] = field(default_factory=list)

    def start(self, *arguments: str, injuries: Injuries | None = None, **environment: str) -> Attempt:
        """Start a command here."""
        attempt = server().start(self.folder, list(arguments), injuries or {}, **environment)
        self.attempts.append(attempt)
        return attempt

    def run(self, *arguments: str, injuries: Injuries | None = None, **environment: str) -> Attempt:
        """Run a command here to its end."""
        attempt = self.start(*arguments, injuries=injuries, **environment)
        attempt.wait()
        return attempt

    def succeed(self, *arguments: str, injuries: Injuries | None = None, **environment: str) -> Attempt:
        """Run a command here that has to succeed."""
        attempt = self.run(*arguments, injuries=injuries, **environment)
        assert attempt.status == 0, attempt.error
        return attempt

    @property
    def kills(self) -> int:
        """How many commands were killed here."""
        return sum(attempt.killed for attempt in self.attempts)

    @property
    def model(self) -> Path:
        return self.folder / "models" / "model.pth"

    @property
    def snapshots(self) -> list[Path]:
        return sorted(self.folder.glob("runs/*/snapshot-*.pt"))

    @property
    def journals(self) -> list[Journal]:
        return journals(self.folder)

    def outcome(self) -> Outcome:
        """What the last training left in models/ and metrics/."""
        with (self.folder / "metrics" / "history.csv").open(encoding="utf-8", newline="") as stream:
            rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]
        metrics = json.loads((self.folder / "metrics" / "train.json").read_text(encoding="utf-8"))
        return Outcome(sha256(self.model), rows, {key: metrics[key] for key in metrics if key not in VOLATILE})

    def leftovers(self) -> list[str]:
        """Files of a training other than its results, its lock and its tracking."""
        results = {
            "metrics/prepare.json",
            "runs/tracking",
            "models/model.pth",
            "models/run.json",
            "metrics/train.json",
            "metrics/history.csv",
        }
        paths = [path for name in ("runs", "models", "metrics") for path in self.folder.glob(f"{name}/*")]
        names = {path.relative_to(self.folder).as_posix() for path in paths}
        return sorted(name for name in names - results if not name.endswith(".lock"))


def new_project(folder: Path, **sections: Mapping[str, Any]) -> Project:
    """A project with prepared data; a small model with dropout that is tracked, and snapshots at each iteration."""
    values: Any = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["fetch"]["source"] = "own"
    small = {"model": MODEL, "train": TRAIN, "evaluate": ONE_THREAD, "sample": ONE_THREAD, "runtime": RUNTIME}
    for section, changes in (*small.items(), *sections.items()):
        values[section].update(changes)
    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    write_text(folder / "data" / "input.txt", seed=1)
    project = Project(folder)
    project.succeed("prepare")
    return project


def write_text(path: Path, seed: int, size: int = 20_000) -> None:
    """Write a text of lines of words."""
    chooser = random.Random(seed)
    words = ["".join(chooser.choices("abcdefghij", k=chooser.randint(1, 6))) for _ in range(200)]
    lines = (" ".join(chooser.choices(words, k=9)) for _ in range(size // 9))
    path.write_text("\n".join(lines)[:size], encoding="ascii")


def points(journal: Journal) -> dict[tuple[str, int], float]:
    """The metric points of a journal, of which no two may be of the same metric and step."""
    logged = [
        ((key, event["step"]), value)
        for event in journal.read()[0]
        if event["kind"] == "metrics"
        for key, value in event["values"].items()
    ]
    assert len(dict(logged)) == len(logged), "a point was tracked twice"
    return _lasting(dict(logged))


def points_in_store(folder: Path) -> tuple[list[str], dict[tuple[str, int], float]]:
    """The statuses of the runs in MLflow's database, and the points of its only training, none twice."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        statuses = [row[0] for row in database.execute("select status from runs")]
        rows = database.execute("select run_uuid, key, step, value from metrics").fetchall()
    assert len({row[:3] for row in rows}) == len(rows), "a point was sent twice"
    assert len({row[0] for row in rows}) == 1, "the points went to more than one run"
    return statuses, _lasting({(key, step): value for _, key, step, value in rows})


def _lasting(values: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    return {(key, step): value for (key, step), value in values.items() if key.removeprefix("final/") not in VOLATILE}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
