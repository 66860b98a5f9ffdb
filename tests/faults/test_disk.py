"""A disk that is full, or cannot be written: a training goes on where it can, else ends in one line and loses nothing.

Full disks and read-only folders are real ones where this process may mount a small file system. Where it may not, files
cannot grow beyond a size, and the rest is skipped.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, Injuries, Project, new_project, points, sha256, write_text

KILLED_LATE: Injuries = {
    **JOURNAL_ONLY,
    "kill_inside": {"place": "gptmodel.training.step:training_step", "call": 20, "after": 0},
}
Mount = Callable[[Path, str], None]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system on a folder, or mount it again with other options."""
    folders: list[Path] = []

    def mount(folder: Path, options: str) -> None:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a file system is not allowed here")
        folders.append(folder)

    yield mount
    for folder in reversed(folders):
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def one_line(text: str) -> str:
    """The error, of which there has to be one line and no traceback."""
    lines = [line for line in text.splitlines() if not line.startswith(("training ", "warning: no snapshot"))]
    assert len(lines) == 1, text
    return lines[0]


def newest(project: Project) -> int:
    """The iteration of the newest snapshot."""
    return int(project.snapshots[-1].stem.removeprefix("snapshot-"))


def files(folder: Path) -> dict[str, str]:
    """The digests of all files below a folder."""
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_snapshots_that_do_not_fit_are_warnings(project: Project, alone: Project) -> None:
    attempt = project.succeed(
        "train", injuries={**JOURNAL_ONLY, "limit_files": {"size": 40_000}}
    )  # a model.pth does fit
    assert attempt.error.count("warning: no snapshot at iteration") == 23
    assert "File too large; the last one is kept" in attempt.error
    assert project.outcome() == alone.outcome()
    assert project.leftovers() == []


def test_a_full_disk_below_runs_costs_no_bytes(project: Project, alone: Project, mounted: Mount) -> None:
    """Later snapshots find no place, neither do the journal's last lines; the ones there are stay and are used."""
    mounted(project.folder / "runs", "size=160k")
    killed = project.run("train", injuries=KILLED_LATE)
    assert killed.killed
    assert "No space left on device; the last one is kept" in killed.error
    number = newest(project)
    assert 0 < number < 18
    attempt = project.succeed("train", injuries=JOURNAL_ONLY)
    assert f"continued from iteration {number}," in attempt.error
    assert project.outcome() == alone.outcome()


def test_a_model_that_does_not_fit_keeps_the_state(project: Project, alone: Project) -> None:
    assert project.run("train", injuries=KILLED_LATE).killed
    before = project.snapshots
    number = newest(project)
    attempt = project.run("train", injuries={**JOURNAL_ONLY, "limit_files": {"size": 12_000}})
    assert attempt.status == 2
    assert one_line(attempt.error).startswith("error: models/model.pth: File too large; allow larger files")
    assert not project.model.exists()
    assert project.snapshots == before
    assert project.journals[0].last_status() == "FAILED"
    assert f"continued from iteration {number}," in project.succeed("train", injuries=JOURNAL_ONLY).error
    assert project.outcome() == alone.outcome()
    (journal,) = project.journals
    assert points(journal)
    assert journal.last_status() == "FINISHED"


@pytest.mark.parametrize("folder", ["models", "metrics"])
def test_a_full_disk_at_the_end_keeps_the_state(project: Project, alone: Project, mounted: Mount, folder: str) -> None:
    mounted(project.folder / folder, "size=4k")
    (project.folder / folder / "filler").write_bytes(bytes(4096))
    attempt = project.run("train", injuries=JOURNAL_ONLY)
    assert attempt.status == 2
    line = one_line(attempt.error)
    assert line.startswith(f"error: {folder}/")
    assert "No space left on device; free some space, then run the same command again" in line
    assert [path.name for path in (project.folder / folder).iterdir()] == ["filler"]
    mounted(project.folder / folder, "size=1m")
    assert "continued from iteration 23" in project.succeed("train", injuries=JOURNAL_ONLY).error
    assert project.outcome() == alone.outcome()


@pytest.mark.parametrize("folder", ["models", "runs"])
def test_a_read_only_folder_is_one_line(project: Project, alone: Project, mounted: Mount, folder: str) -> None:
    project.succeed("train", "-S", "train.max_iters=5", injuries=JOURNAL_ONLY)
    for name in ("models", "runs"):
        shutil.copytree(project.folder / name, project.folder / f"{name}-before")
    mounted(project.folder / folder, "ro")
    attempt = project.run("train", injuries=JOURNAL_ONLY)
    assert attempt.status == 2
    line = one_line(attempt.error)
    assert f"{folder}/" in line
    assert "Read-only file system; make the folder writable" in line
    subprocess.run(["umount", str(project.folder / folder)], check=True)
    assert files(project.folder / "models") == files(project.folder / "models-before")
    project.succeed("train", injuries=JOURNAL_ONLY)
    assert project.outcome() == alone.outcome()


def test_prepare_on_a_full_disk_writes_nothing(project: Project) -> None:
    before = files(project.folder)
    write_text(project.folder / "data" / "input.txt", seed=2)
    attempt = project.run("prepare", injuries={"limit_files": {"size": 9_000}})
    assert attempt.status == 2
    assert one_line(attempt.error).startswith("error: data/prepared/train.bin: File too large; allow larger files")
    after = files(project.folder)
    assert after.pop("data/input.txt") != before.pop("data/input.txt")
    assert after == before


def test_a_prepare_killed_anywhere_leaves_nothing_that_is_used_by_mistake(tmp_path: Path, project: Project) -> None:
    """Each file is whole; those of two texts are not taken together; the next prepare gives the right bytes."""
    text = project.folder / "data" / "input.txt"
    prepared = project.folder / "data" / "prepared"
    shutil.copytree(prepared, tmp_path / "former")
    former = files(prepared)
    write_text(text, seed=2)
    text.write_text(text.read_text(encoding="ascii") + "!", encoding="ascii")  # another vocabulary
    project.succeed("prepare", "--out", str(tmp_path / "other"))
    latter = files(tmp_path / "other" / "data" / "prepared")
    assert len({*former.values(), *latter.values()}) == 6
    place, report = "gptmodel.data.corpus:_write_splits", tmp_path / "calls.json"
    count = {"places": [place], "report": str(report)}
    project.succeed("prepare", "--out", str(tmp_path / "other"), injuries={"count_calls": count})
    calls = json.loads(report.read_text(encoding="utf-8"))[place][1]
    within = [{"place": place, "call": 1, "after": after} for after in range(0, calls, calls // 8 + 1)]
    renamed = [{"place": "gptmodel.files:_sync_folder", "call": call, "after": 0} for call in (1, 2, 3)]
    replaced = []
    for moment in [*within, *renamed]:
        shutil.rmtree(prepared)
        shutil.copytree(tmp_path / "former", prepared)
        assert project.run("prepare", injuries={"kill_inside": moment}).killed
        digests = {name: value for name, value in files(prepared).items() if not name.endswith(".tmp")}
        assert all(value in (former[name], latter[name]) for name, value in digests.items())
        if digests not in (former, latter):
            attempt = project.run("train", injuries=JOURNAL_ONLY)
            assert attempt.status == 2
            assert "run `gptmodel prepare` again" in one_line(attempt.error)
        replaced.append(sum(digests[name] == latter[name] for name in digests))
    assert replaced[-3:] == [1, 2, 3]
    project.succeed("prepare")
    assert files(prepared) == latter
