"""A `dvc exp run` that ends with its terminal: what git is left with, what doctor says of it, and that this is true."""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from committed_project import ENVIRONMENT, commit, good, gptmodel, set_params
from pipeline_helpers import wait_until

LEFT = "a killed `dvc exp run` left git on no branch"


def started(project: Path) -> tuple["subprocess.Popen[bytes]", Callable[[], str]]:
    """Start an experiment as a terminal does, and return it with a look at what it says."""
    said = project.parent / "said.txt"
    with said.open("wb") as stream:
        words = ["dvc", "exp", "run", "-S", "train.learning_rate=2e-3"]
        running = subprocess.Popen(
            words, cwd=project, env=ENVIRONMENT, stdout=stream, stderr=stream, start_new_session=True
        )
    return running, lambda: said.read_text(encoding="utf-8")


def test_the_way_back_from_a_killed_experiment(project: Path) -> None:
    set_params(project, "max_iters=2000000", "eval_interval=20")
    commit(project)
    (project / "CHANGELOG.md").write_text("a change of mine\n", encoding="utf-8")
    running, said = started(project)
    wait_until(lambda: "iteration      20/2000000" in said(), "the first iterations")
    assert "a `dvc exp run` is under way" in gptmodel(project, "doctor").stdout
    os.killpg(running.pid, signal.SIGHUP)  # as a terminal that is closed does
    running.wait()
    wait_until(lambda: "the state is saved" in said(), "the stage to end")
    examined = gptmodel(project, "doctor")
    assert examined.returncode == 2
    (line,) = [line for line in examined.stdout.splitlines() if LEFT in line]
    assert line.startswith("problem")
    assert "params.yaml" in line
    back, drop = re.findall("`(git [^`]+)`", line)
    good(project, "bash", "-c", back)
    assert good(project, "git", "branch", "--show-current") == "main\n"
    assert good(project, "git", "diff", "--cached", "--name-only") == ""
    assert "a change of mine" in good(project, "git", "diff", "CHANGELOG.md")
    assert LEFT not in gptmodel(project, "doctor").stdout
    running, said = started(project)
    wait_until(lambda: "continued from iteration" in said(), "the training to go on")
    wait_until(lambda: "2000000  train" in said(), "its next evaluation")
    os.killpg(running.pid, signal.SIGINT)  # Ctrl-C, after which DVC tidies up itself
    running.wait()
    assert good(project, "git", "branch", "--show-current") == "main\n"
    good(project, "bash", "-c", drop)
    assert good(project, "git", "diff", "params.yaml") == ""
