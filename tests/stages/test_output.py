"""What cannot be printed: a full disk, a reader that goes away and closed streams cost no training and no file."""

import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from model_helpers import ROOT
from projects import JOURNAL_ONLY, Project, new_project

from stages.streams import Outlet

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
LOST = [pytest.param("full", "No space left on device", marks=FULL), ("pipe", "Broken pipe")]
CLOSED = (
    "import os, sys; [os.close(int(n)) for n in sys.argv[1]]; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


@pytest.mark.parametrize(("how", "reason"), LOST)
def test_a_training_goes_on_when_its_output_is_lost(project: Project, alone: Project, how: str, reason: str) -> None:
    """The files are written, and so the snapshots forgotten: done, as the status says."""
    attempt = project.succeed("train", injuries={**JOURNAL_ONLY, "lose_output": {"how": how}})
    line = f"warning: stdout: {reason}: not all output could be printed; everything else was done"
    assert attempt.error.splitlines()[1:] == [line]
    assert project.outcome() == alone.outcome()
    assert not project.snapshots
    assert project.journals[0].last_status() == "FINISHED"
    sampled = project.succeed("sample", injuries={**JOURNAL_ONLY, "lose_output": {"how": how}})
    copied, warning = sampled.error.splitlines()
    assert copied.startswith("note: the longest passage copied from the training text is ")
    assert warning == line
    assert (project.folder / "samples" / "samples.txt").read_text(encoding="utf-8").count("--- sample") == 3


def test_what_is_only_printed_fails_where_it_cannot_be(alone: Project, tmp_path: Path) -> None:
    """A full disk is told in one line; a reader who had enough needs none."""
    copy = Project(tmp_path / "copy")
    shutil.copytree(alone.folder, copy.folder)
    if Path("/dev/full").exists():
        attempt = copy.run("sample", "ab", injuries={"lose_output": {"how": "full"}})
        words = "error: stdout: No space left on device; mend that, and run the same command again\n"
        assert (attempt.status, attempt.error) == (2, words)
    attempt = copy.run("sample", "ab", injuries={"lose_output": {"how": "pipe"}})
    assert (attempt.status, attempt.error) == (1, "")


@pytest.mark.parametrize(
    "closed", [pytest.param("1", marks=pytest.mark.slow), pytest.param("12", marks=pytest.mark.slow), "012"]
)
def test_streams_that_were_closed_before_the_start_are_no_files(project: Project, alone: Project, closed: str) -> None:
    command = [sys.executable, "-c", CLOSED, closed, "-m", "stages.train", "-S", "runtime.mlflow=false"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "Traceback" not in ended.stderr
    assert project.outcome() == alone.outcome()


def test_an_outlet_waits_for_the_reader_of_a_pipe_that_does_not_wait_itself() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    content, read = os.urandom(1 << 20), io.BytesIO()  # more than a pipe holds

    def drain() -> None:
        with io.FileIO(reader) as stream:
            read.write(stream.readall())

    thread = threading.Thread(target=drain)
    outlet = Outlet(io.FileIO(writer, "w"))
    with io.BufferedWriter(outlet) as stream:
        thread.start()
        stream.write(content)
        stream.flush()
        os.close(writer)
        outlet.lost = OSError()  # so that closing writes no more
    thread.join()
    assert read.getvalue() == content
