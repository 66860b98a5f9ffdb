"""Long lines: on a terminal they break between words, and in a pipe they stay whole."""

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest

from gptmodel.presets import PRESETS
from stages.command import note, say
from stages.preset import preset

COLUMNS = 100
pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs terminals")


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, list[str]]]:
    """A real terminal of so many columns; the list has what it showed, line by line, after the block."""
    controller, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown: list[str] = []
    received = b""
    try:
        with os.fdopen(end, "w", encoding="utf-8") as stream:
            yield stream, shown
        with suppress(OSError):  # how Linux says that it was closed
            while part := os.read(controller, 1 << 16):
                received += part
        shown += received.decode().replace("\r\n", "\n").splitlines()
    finally:
        os.close(controller)


def test_a_table_on_a_terminal_goes_on_below_its_last_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(COLUMNS) as (stream, shown):
        monkeypatch.setattr(sys, "stdout", stream)
        preset()
    assert max(map(len, shown)) <= COLUMNS
    cell = shown[0].index(PRESETS["tutorial"].words[:12])
    rows = [line for line in shown[:-1] if not line.startswith(" ")]
    assert [row.split()[0] for row in rows] == list(PRESETS)
    assert len(rows) < len(shown) - 1
    for line in shown[:-1]:
        assert line[:cell].strip() == "" or line in rows
    assert [" ".join(line[cell:] for line in shown[:-1])] == [" ".join(each.words for each in PRESETS.values())]


def test_prose_on_a_terminal_breaks_between_words_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "`mlflow gc --backend-store-uri sqlite:///mlflow.db --tracking-uri sqlite:///mlflow.db`"
    prose = f"delete runs in `gptmodel ui`; what frees their files, for good, is {command}, and nothing but that"
    with terminal(COLUMNS) as (stream, shown):
        monkeypatch.setattr(sys, "stderr", stream)
        note(prose)
    assert shown == [prose[: prose.index(command) - 1], f"{command}, and nothing", "but that"]
    with terminal(60) as (stream, shown):
        monkeypatch.setattr(sys, "stderr", stream)
        note(f"a row of a table  {'of wide cells ' * 3}  with words at its end")
    assert shown == ["a row of a table  of wide cells of wide cells of wide cells", "with words at its end"]


def test_in_a_pipe_lines_stay_whole(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    say("a word " * 30)
    assert capfd.readouterr().out == "a word " * 30 + "\n"
