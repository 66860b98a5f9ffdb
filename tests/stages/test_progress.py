"""How a training is shown: a bar on a terminal, here a real one of 80 columns; a line per evaluation elsewhere."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from projects import Project, new_project

from stages.progress import chosen_style

ITERATIONS, INTERVAL = 900, 300
PROMPT = b"(Pdb) "
FRAME = re.compile(r"iteration (\d+)/900 [━╸╺]+ train (\d\.\d{4}) val (\d\.\d{4}) ([\d,]+) tokens/s (\d\d:\d\d) left")
LINE = re.compile(r"iteration +(\d+)/\d+  train (\d\.\d{4}) val (\d\.\d{4})(  [\d,]+ tokens/s  \d+ s left)?")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(
        tmp_path / "project",
        train={"max_iters": ITERATIONS, "eval_interval": INTERVAL},
        runtime={"snapshot_seconds": 30, "mlflow": False},
    )


def on_a_terminal(project: Project, rows: int, columns: int, **injuries: dict[str, Any]) -> tuple[int, str]:
    """Train with a terminal as standard input, output and error; return the status and all that the terminal got.

    Whoever sits there types `continue` when a debugger asks.
    """
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    attempt = project.start(
        "train", injuries={"use_terminal": {"path": os.ttyname(terminal)}, **injuries}, TERM="xterm"
    )
    received, status, asked = b"", None, 0
    while status is None:
        attempt.listen(0.01)
        status = attempt.status
        while select.select([controller], [], [], 0.0)[0]:
            received += os.read(controller, 1 << 16)
            if received.count(PROMPT) > asked:
                asked += 1
                os.write(controller, b"continue\n")
    os.close(controller)
    os.close(terminal)
    return status, received.decode()


def seconds(clock: str) -> int:
    minutes, rest = clock.split(":")
    return 60 * int(minutes) + int(rest)


def test_on_a_terminal_a_bar_shows_where_the_training_is(project: Project) -> None:
    status, received = on_a_terminal(project, rows=24, columns=80)
    assert status == 0, received
    assert "\x1b[2K" in received  # it is drawn over itself
    screen = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", received))
    frames = [match.groups() for line in screen if (match := FRAME.fullmatch(line.rstrip()))]
    iterations = [int(frame[0]) for frame in frames]
    assert iterations == sorted(iterations)
    assert iterations[-1] == ITERATIONS
    assert [count for count in iterations if 0 < count < ITERATIONS], screen
    assert all(int(speed.replace(",", "")) > 0 for *_, speed, _ in frames)
    seconds_left = [seconds(clock) for *_, clock in frames]
    assert seconds_left[-1] == 0
    assert max(seconds_left) > 0
    rows = {(f"{float(row['train_loss']):.4f}", f"{float(row['val_loss']):.4f}") for row in project.outcome().history}
    assert {frame[1:3] for frame in frames} <= rows
    last = project.outcome().history[-1]
    assert frames[-1][1:3] == (f"{float(last['train_loss']):.4f}", f"{float(last['val_loss']):.4f}")
    assert not LINE.search("\n".join(screen))


def test_the_bar_gives_way_to_a_debugger(project: Project) -> None:
    status, received = on_a_terminal(project, rows=24, columns=80, call_debugger={"call": 400})
    assert status == 0, received
    before, typed = received.split(PROMPT.decode())
    assert "iteration 399/900" in before
    assert "\x1b[2K" in before
    assert "\x1b[2K" not in typed  # nothing is drawn over what was typed
    assert typed.startswith("continue\r\n")
    assert [match[1] for match in LINE.finditer(typed)] == ["600", "900"]
    assert "models/model.pth: " in typed


def test_where_a_debugger_follows_from_the_start_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    assert chosen_style("auto") == "bar"
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    assert (chosen_style("auto"), chosen_style("bar")) == ("lines", "bar")


def test_without_a_terminal_there_is_a_line_for_each_evaluation(project: Project) -> None:
    result = project.succeed("train", "-S", "train.max_iters=90", "-S", "train.eval_interval=30", TERM="xterm")
    assert "\x1b" not in result.output + result.error
    *lines, last = result.output.splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    assert None not in matches, lines
    rows = project.outcome().history
    printed = [(match[1], match[2], match[3]) for match in matches if match]
    assert printed == [
        (row["iteration"], f"{float(row['train_loss']):.4f}", f"{float(row['val_loss']):.4f}") for row in rows
    ]
    assert [int(row["iteration"]) for row in rows] == [0, 30, 60, 90]
    assert [match[4] is not None for match in matches if match] == [False, True, True, True]
    assert last.startswith("models/model.pth: ")
