"""SIGTERM, SIGINT, SIGHUP: the first one saves and ends with the documented status; the second ends at once."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, Project, new_project, points

SEED = 20240607
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project", runtime={"snapshot_seconds": 1e9})  # saved only when asked to stop


def test_stopped_at_random_moments(project: Project, alone: Project) -> None:
    chooser, stops = random.Random(SEED), 0
    while True:
        number = chooser.choice(list(STATUS))
        place = chooser.choice(["gptmodel.training.step:training_step", "gptmodel.evaluation.loss:estimate_loss"])
        moment = {"place": place, "call": chooser.randint(1, 2), "after": chooser.randint(0, 400), "number": number}
        attempt = project.run("train", injuries={**JOURNAL_ONLY, "kill_inside": moment})
        if attempt.status == 0:
            break
        stops += 1
        assert attempt.status == STATUS[number], attempt.error
        assert "stopped at iteration" in attempt.error.splitlines()[-1]
        assert "Traceback" not in attempt.error
        assert project.journals[0].last_status() == "KILLED"
    assert stops >= 5
    assert project.outcome() == alone.outcome()
    (journal,) = project.journals
    assert points(journal) == points(alone.journals[0])


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
@pytest.mark.parametrize(
    "place",
    [
        "gptmodel.params_file:load_params",
        "gptmodel.data.prepared:load_prepared",
        "gptmodel.project.inputs:code_digest",
        "gptmodel.checkpoint.model_file:save_model",
        "stages.tracked:log_training",
        "gptmodel.training.run:TrainingRun.forget",
    ],
)
def test_before_and_after_the_loop_a_signal_is_not_lost(project: Project, place: str, number: signal.Signals) -> None:
    attempt = project.run(
        "train", injuries={**JOURNAL_ONLY, "kill_inside": {"place": place, "call": 1, "after": 9, "number": number}}
    )
    late = place.endswith(("save_model", "log_training", "forget"))  # then the rest is quicker than a stop
    assert attempt.status == (0 if late else STATUS[number]), attempt.error
    assert "Traceback" not in attempt.error
    assert project.model.exists() == late


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_second_signal_ends_at_once(project: Project, tmp_path: Path, number: signal.Signals) -> None:
    """Here in an iteration that takes forever."""
    mark = tmp_path / "mark"
    moment = {"place": "gptmodel.training.step:training_step", "call": 3, "mark": str(mark)}
    attempt = project.start("train", injuries={**JOURNAL_ONLY, "wait_inside": moment})
    while not mark.exists():
        assert attempt.status is None, attempt.error
        attempt.listen(0.01)
    attempt.signal(number)
    attempt.listen(0.5)
    assert attempt.status is None
    start = time.monotonic()
    attempt.signal(number)
    assert attempt.wait() == STATUS[number]
    assert time.monotonic() - start < 5


def test_a_terminal_that_closes_may_say_so_twice(project: Project, tmp_path: Path) -> None:
    """A shell passes SIGHUP on, and the system sends one of its own when the shell is gone: the state is saved."""
    mark = tmp_path / "mark"
    moment = {"place": "gptmodel.training.step:training_step", "call": 3, "mark": str(mark)}
    attempt = project.start("train", injuries={**JOURNAL_ONLY, "wait_inside": moment})
    while not mark.exists():
        assert attempt.status is None, attempt.error
        attempt.listen(0.01)
    for _ in range(3):
        attempt.signal(signal.SIGHUP)
        attempt.listen(0.2)
    mark.unlink()
    assert attempt.wait() == STATUS[signal.SIGHUP]
    assert "stopped at iteration 3, the state is saved" in attempt.error
    assert len(project.snapshots) == 1


def test_what_nohup_started_does_not_hear_of_it(project: Project, alone: Project) -> None:
    moment = {"place": "gptmodel.training.step:training_step", "call": 3, "after": 5, "number": signal.SIGHUP}
    project.succeed("train", injuries={**JOURNAL_ONLY, "ignore_hangups": {}, "kill_inside": moment})
    assert project.outcome() == alone.outcome()


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param("inductor_entry", id="the compiler is tried", marks=pytest.mark.slow),
        pytest.param("mm_out", id="the model is compiled", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_is_not_taken_for_a_fault_of_the_compiler(tmp_path: Path, reached: str) -> None:
    """Ctrl-C goes to the compiler too: here it hangs on the first file that has a word, and is killed."""
    project = new_project(tmp_path / "project", model={"dropout": 0.0}, train={"compile": True})
    real, mark, compiler = shutil.which("g++"), tmp_path / "mark", tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    hang = f"echo $$ > {mark}.new && mv {mark}.new {mark} && exec sleep 600"
    if_reached = f'if [ ! -e {mark} ] && grep -q {reached} "$word"; then {hang}; fi'
    lines = ("#!/bin/sh", f'for word; do case "$word" in *.cpp) {if_reached};; esac; done', f'exec {real} "$@"')
    compiler.write_text("\n".join(lines) + "\n")
    compiler.chmod(0o755)
    environment = {
        "PATH": f"{compiler.parent}:{os.environ['PATH']}",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"),
    }
    attempt = project.start("train", injuries=JOURNAL_ONLY, **environment)
    while not mark.exists():
        assert attempt.status is None, attempt.error
        attempt.listen(0.05)
    attempt.signal(signal.SIGINT)
    os.kill(int(mark.read_text()), signal.SIGKILL)
    assert attempt.wait() == STATUS[signal.SIGINT]
    assert attempt.error.splitlines()[-1] == "stopped by SIGINT; run the same command to go on"
    assert not project.snapshots
