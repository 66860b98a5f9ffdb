"""A training that is killed any number of times, anywhere, ends with the bytes of one that was left alone.

Kills come by the clock, from outside, and at counted moments, from inside (see injuries): in the middle of an
iteration, an evaluation, a snapshot, a line of the tracking journal, model.pth, and between any two of its files.
The seed is fixed; KILL_SEED=number in the environment tries other moments.
"""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from attempts import ROOT, Attempt
from projects import JOURNAL_ONLY, Injuries, Outcome, Project, new_project, points, points_in_store, sha256

SEED = int(os.environ.get("KILL_SEED", "20240607"))
WHILE = [  # what a training does over and over
    "gptmodel.training.run:TrainingRun.__init__",
    "gptmodel.tracking.mlflow_tracker:start_run",
    "gptmodel.tracking.journal_writer:JournalWriter._append",
    "gptmodel.evaluation.loss:estimate_loss",
    "gptmodel.training.step:training_step",
    "gptmodel.training.snapshot:SnapshotStore.save",
]
ONCE = [  # what it does at its start, and at its end
    "gptmodel.params_file:load_params",
    "gptmodel.training.run:TrainingRun._journal_key",
    "gptmodel.checkpoint.model_file:save_model",
    "gptmodel.training.run:TrainingRun.finish",
    "gptmodel.tracking.journal_writer:JournalWriter.file",
    "stages.tracked:log_training",
    "gptmodel.tracking.mlflow_tracker:MlflowTracker.close",
    "gptmodel.training.run:TrainingRun.forget",
]
HALVES: list[Injuries] = [
    {"kill_in_file": {"name": "journal", "call": 1}},
    {"kill_in_line": {"call": 1}},
    {"kill_in_line": {"call": 4}},
    {"kill_in_file": {"name": "snapshot-", "call": 3}},
    {"kill_in_file": {"name": "snapshot-", "call": 1}},
    {"kill_in_file": {"name": "model.pth", "call": 1}},
    {"kill_in_file": {"name": "train.json", "call": 1}},
    {"kill_in_file": {"name": "history.csv", "call": 1}},
    {"kill_in_file": {"name": "run.json", "call": 1}},
]


@dataclass(frozen=True)
class Undisturbed:
    """A training that was left alone."""

    outcome: Outcome
    points: dict[tuple[str, int], float]
    seconds: float
    calls: dict[str, list[int]]  # of each place: how many, and how many calls each makes in turn, at least


@dataclass
class Victim:
    """A training that is killed again and again."""

    project: Project
    undisturbed: Undisturbed
    abandoned: set[str] = field(default_factory=set)  # journals of runs that were killed when all was done

    def attempt(self, injuries: Injuries, after: float | None = None) -> Attempt:
        """Train with injuries, and with a kill after some seconds."""
        attempt = self.project.start("train", injuries={**JOURNAL_ONLY, **injuries})
        if after is not None:
            attempt.signal(9, after)
        attempt.wait()
        assert attempt.killed or attempt.status == 0, attempt.error
        if attempt.killed:
            live = {path.read_text(encoding="ascii") for path in self.project.folder.glob("runs/*/journal")}
            self.abandoned |= {journal.key for journal in self.project.journals} - live
            model = self.project.model  # there is no half of one, not even for a moment
            assert not model.exists() or sha256(model) == self.undisturbed.outcome.model
        return attempt

    def check(self) -> None:
        """Compare what the last attempt left with the undisturbed training."""
        story = "\n".join(f"{attempt.status} {attempt.error}" for attempt in self.project.attempts)
        assert self.project.outcome() == self.undisturbed.outcome, story
        assert self.project.leftovers() == [], story
        journals = self.project.journals
        assert len(journals) == 1 + len(self.abandoned), story
        for journal in journals:
            assert points(journal) == self.undisturbed.points, story
            assert journal.last_status() == "FINISHED", story

    @property
    def resumed(self) -> int:
        """How many attempts went on from a snapshot."""
        return sum("continued from iteration" in attempt.error for attempt in self.project.attempts)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    project = new_project(tmp_path_factory.mktemp("undisturbed") / "project")
    seconds = project.succeed("train", injuries=JOURNAL_ONLY).seconds
    outcome, (journal,) = project.outcome(), project.journals
    report = project.folder / "calls.json"
    count = {"count_calls": {"places": WHILE + ONCE, "report": str(report)}}
    project.succeed("train", injuries={**JOURNAL_ONLY, **count})
    calls = json.loads(report.read_text(encoding="utf-8"))
    assert project.outcome() == outcome
    assert all(calls[place][0] for place in WHILE + ONCE)
    return Undisturbed(outcome, points(journal), seconds, calls)


def by_the_clock(folder: Path, undisturbed: Undisturbed, kills: int, chooser: random.Random) -> tuple[int, int]:
    """Kill trainings at random times; return how many kills there were, and how many attempts resumed."""
    killed = resumed = 0
    for number in itertools.count():
        if killed >= kills:
            return killed, resumed
        victim = Victim(new_project(folder / str(number)), undisturbed)
        while victim.attempt({}, after=chooser.uniform(0.0, undisturbed.seconds)).killed:
            if victim.project.kills >= 2 * kills:  # it is slower than it was
                victim.attempt({})
                break
        victim.check()
        killed, resumed = killed + victim.project.kills, resumed + victim.resumed
    raise AssertionError


def inside(
    folder: Path, undisturbed: Undisturbed, places: Iterable[tuple[str, int]], chooser: random.Random
) -> tuple[int, int]:
    """Kill a training in the n-th call of one place after the other; return kills and resumed attempts."""
    victim = Victim(new_project(folder), undisturbed)
    for place, call in places:
        moment = {"place": place, "call": call, "after": chooser.randint(0, undisturbed.calls[place][1])}
        assert victim.attempt({"kill_inside": moment}).killed, moment
    victim.attempt({})
    victim.check()
    return victim.project.kills, victim.resumed


def test_killed_by_the_clock(tmp_path: Path, undisturbed: Undisturbed) -> None:
    kills, _ = by_the_clock(tmp_path, undisturbed, 8, random.Random(SEED))
    assert kills >= 8


def test_killed_in_the_middle_of_all_it_does(tmp_path: Path, undisturbed: Undisturbed) -> None:
    chooser = random.Random(SEED)
    places = [(place, 2 if undisturbed.calls[place][0] > 9 else 1) for place in WHILE + ONCE]
    kills, resumed = inside(tmp_path / "project", undisturbed, places, chooser)
    assert kills == len(WHILE + ONCE) == 14
    assert resumed >= 6


def test_killed_with_half_of_a_file_written(tmp_path: Path, undisturbed: Undisturbed) -> None:
    victim = Victim(new_project(tmp_path / "project"), undisturbed)
    for half in HALVES:
        assert victim.attempt(half).killed, half
    victim.attempt({})
    victim.check()
    assert victim.project.kills == len(HALVES) == 9
    assert victim.resumed >= 6


def test_killed_while_it_clears_up(tmp_path: Path, undisturbed: Undisturbed) -> None:
    """Half of a forgotten training must not be continued as a new run of MLflow's that lacks its first half."""
    victim = Victim(new_project(tmp_path / "project"), undisturbed)
    place = "gptmodel.training.run:TrainingRun.forget"
    calls = undisturbed.calls[place][1]
    for after in range(5, calls, calls // 9):
        assert victim.attempt({"kill_inside": {"place": place, "call": 1, "after": after}}).killed
    victim.attempt({})
    victim.check()
    assert victim.project.kills >= 9


def test_mlflow_holds_one_whole_run_after_kills(tmp_path: Path, undisturbed: Undisturbed) -> None:
    """With the helper process that sends: it outlives the one that is killed, and sends beside the next."""
    victim = Victim(new_project(tmp_path / "project"), undisturbed)
    project, moment = victim.project, {"place": "gptmodel.evaluation.loss:estimate_loss", "call": 2, "after": 50}
    assert victim.attempt({"kill_inside": moment}).killed
    assert project.run("train", injuries={"kill_inside": moment}).killed
    last = project.succeed("train")
    assert project.kills == 2
    victim.check()
    if "gptmodel sync" in last.error:  # on a busy machine it may have been too slow to be waited for
        project.succeed("sync")
    statuses, sent = points_in_store(project.folder)
    assert statuses == ["FINISHED"]
    assert sent == undisturbed.points


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("round_", range(3))
def test_thirty_more_kills_by_the_clock(tmp_path: Path, undisturbed: Undisturbed, round_: int) -> None:
    kills, resumed = by_the_clock(tmp_path, undisturbed, 30, random.Random(SEED + 1 + round_))
    assert kills >= 30
    assert resumed >= 10


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("round_", range(6))
def test_fourteen_more_kills_inside(tmp_path: Path, undisturbed: Undisturbed, round_: int) -> None:
    chooser = random.Random(SEED + 10 + round_)
    places = [*chooser.sample(WHILE, len(WHILE)), *chooser.sample(ONCE, len(ONCE))]
    kills, _ = inside(tmp_path / "project", undisturbed, [(place, 1) for place in places], chooser)
    assert kills == 14


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(3))
def test_eight_more_kills_with_half_of_a_file_written(tmp_path: Path, undisturbed: Undisturbed, round_: int) -> None:
    victim = Victim(new_project(tmp_path / "project"), undisturbed)
    chooser = random.Random(SEED + 20 + round_)
    for half in [*chooser.sample(HALVES[1:5], 4), *chooser.sample(HALVES[5:], 4)]:  # the key is written once only
        assert victim.attempt(half).killed, half
    victim.attempt({})
    victim.check()
    assert victim.project.kills == 8


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("most", "iterations"), [(3, 1500), (12, 3000)])
def test_dvc_repro_killed_with_all_its_children(tmp_path: Path, most: int, iterations: int) -> None:
    """A project under git and DVC with a real MLflow store; the helper process that sends survives, as it should."""
    longer = {"train": {"max_iters": iterations, "eval_interval": 100}, "runtime": {"snapshot_seconds": 0.2}}
    alone = new_project(tmp_path / "alone", **longer)
    alone.succeed("train", injuries=JOURNAL_ONLY)
    project = new_project(tmp_path / "clone", **longer)
    clone, chooser, kills = project.folder, random.Random(SEED), 0
    shutil.rmtree(clone / "data" / "prepared")
    for name in ("stages", "gptmodel"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "requirements.txt", ".dvcignore"):
        shutil.copy(ROOT / name, clone / name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    environment |= {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=clone, env=environment, check=True)
    while True:
        with (tmp_path / "said.txt").open("ab") as log:
            repro = subprocess.Popen(
                ["dvc", "repro"], cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            _wait_for_a_moment(repro, project, chooser, kills, most)
        if repro.poll() is not None:
            break
        os.killpg(repro.pid, signal.SIGKILL)
        repro.wait()
        kills += 1
    story = (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert repro.returncode == 0, story
    assert kills == most, story
    assert story.count("continued from iteration") >= most // 3, story
    assert project.outcome() == alone.outcome(), story
    again = subprocess.run(["dvc", "repro"], cwd=clone, env=environment, check=True, capture_output=True, text=True)
    assert "Data and pipelines are up to date" in again.stdout
    if "gptmodel sync" in story:
        project.run("sync")
    statuses, sent = points_in_store(clone)
    assert statuses == ["FINISHED"], story
    assert {key: value for key, value in sent.items() if not key[0].startswith("eval/")} == points(alone.journals[0])


def _wait_for_a_moment(
    repro: "subprocess.Popen[bytes]", project: Project, chooser: random.Random, kills: int, most: int
) -> None:
    """Wait for a random time; for every other kill, from when it has saved its state; after the last, to the end."""
    before, end = project.snapshots, time.monotonic() + chooser.uniform(0.5, 6.0)
    if kills % 2:
        while repro.poll() is None and project.snapshots == before:
            time.sleep(0.02)
        end = time.monotonic() + chooser.uniform(0.0, 0.8)
    while repro.poll() is None and (kills >= most or time.monotonic() < end):
        time.sleep(0.02)
