"""Unfinished trainings are listed and given up by name and by age; what the disk holds is told."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from gptmodel.doctor.disk import disk
from gptmodel.doctor.environment import environment
from gptmodel.doctor.trainings import free, trainings
from gptmodel.errors import GptModelError
from gptmodel.project.layout import STUDY_MARK

RECENT, DAY, MONTH, LIVING = ("a" * 16, "b" * 16, "c" * 16, "d" * 16)


def unfinished(root: Path, name: str, hours: float) -> Path:
    """The state of a training that nobody went on with for so long."""
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    then = time.time() - hours * 3600
    for file in ("snapshot-0000000100.pt", "journal"):
        (folder / file).write_bytes(b"x" * 500)
        os.utime(folder / file, (then, then))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with four unfinished trainings, and the records of tracked ones."""
    for name, hours in ((RECENT, 1), (DAY, 30), (MONTH, 1000), (LIVING, 1001)):
        unfinished(tmp_path, name, hours)
    (tmp_path / "runs" / "tracking" / "key").mkdir(parents=True)
    return tmp_path


def left(root: Path) -> set[str]:
    return {path.name for path in (root / "runs").iterdir()}


def texts(root: Path) -> list[str]:
    return [finding.text for finding in trainings(root)]


def test_each_is_listed_with_the_command_that_gives_it_up(root: Path) -> None:
    with FileLock(root / "runs" / f"{LIVING}.lock"):
        lines = texts(root)
    assert f"runs/{LIVING}: a training is under way" in lines
    hint = "the same settings, data and code go on from there; to give it up,"
    text = f"runs/{DAY}: a training stopped at iteration 100 30 hours ago (1 kB)"
    assert f"{text}; {hint} `gptmodel doctor --free {DAY}`" in lines


def test_they_are_given_up_by_age_but_never_a_living_one(root: Path) -> None:
    (root / "runs" / f"{MONTH}.lock").touch()  # of a process that was killed
    with FileLock(root / "runs" / f"{LIVING}.lock"):
        assert list(free(root, "30d")) == [
            f"runs/{LIVING}: left alone, as a training is under way",
            f"runs/{MONTH}: removed (1 kB); the same training would start anew",
        ]
        assert left(root) == {RECENT, DAY, LIVING, f"{LIVING}.lock", "tracking"}
    assert list(free(root, "12h")) == [
        f"runs/{name}: removed (1 kB); the same training would start anew" for name in (LIVING, DAY)
    ]
    assert list(free(root, "12h")) == ["no training in runs/ has been left for 12h"]
    assert left(root) == {RECENT, "tracking"}


def test_they_are_given_up_by_name_but_never_a_living_one(root: Path) -> None:
    with FileLock(root / "runs" / f"{LIVING}.lock"):
        assert list(free(root, LIVING)) == [f"runs/{LIVING}: left alone, as a training is under way"]
    assert list(free(root, f"runs/{RECENT}/")) == [f"runs/{RECENT}: removed (1 kB); the same training would start anew"]
    assert left(root) - {f"{LIVING}.lock"} == {DAY, MONTH, LIVING, "tracking"}


@pytest.mark.parametrize("what", ["tracking", "", "..", "30", "30 days", "e" * 16, "-1d", "*"])
def test_nothing_else_is_given_up(root: Path, what: str) -> None:
    before = sorted((root / "runs").rglob("*"))
    with pytest.raises(GptModelError, match="neither the name of a training in runs/ or of a study, as"):
        list(free(root, what))
    assert sorted((root / "runs").rglob("*")) == before


def test_what_a_study_keeps_is_no_leftover_and_given_up_by_its_name(root: Path) -> None:
    for name in (DAY, LIVING):
        (root / "runs" / name / STUDY_MARK).write_text("sizes", encoding="utf-8")
    with FileLock(root / "runs" / f"{LIVING}.lock"):
        (kept,) = [finding for finding in trainings(root) if "sizes" in finding.text]
        assert kept.status == "ok"
        assert kept.text.startswith("runs/ keeps 1 training of the study sizes (1 kB): its best trial, and those that")
        assert kept.text.endswith("`gptmodel doctor --free sizes` removes them")
        assert [line.partition(":")[0] for line in free(root, "sizes")] == [f"runs/{DAY}", f"runs/{LIVING}"]
    assert left(root) - {f"{LIVING}.lock"} == {RECENT, MONTH, LIVING, "tracking"}


def test_trainings_without_a_snapshot_are_counted(root: Path) -> None:
    for name in (RECENT, DAY):
        (root / "runs" / name / "snapshot-0000000100.pt").unlink()
    assert "runs/ has 2 trainings without a snapshot; `gptmodel doctor --free 1d` removes those of a day" in texts(root)


def test_lock_files_without_a_training_are_removed_unless_held(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "runs" / f"{name}.lock").touch()
    with FileLock(tmp_path / "runs" / "b.lock"):
        (finding,) = [finding for finding in trainings(tmp_path) if finding.mend]
        assert finding.text == "runs/ has 3 lock files of trainings that are gone; --mend removes them"
        assert finding.mend is not None
        assert finding.mend() == "removed 2 of them"
        assert left(tmp_path) == {"b.lock"}


def test_what_the_disk_holds_is_told_and_noted_when_it_is_much(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    (finding,) = disk(root)
    assert finding.status == "ok"
    assert finding.text.startswith("runs/ takes 4 kB of the disk: `gptmodel doctor --free 30d` gives up")
    compiled = root / "cache" / "gptmodel" / "torchinductor"
    for folder in (compiled, root / "mlartifacts", root / ".dvc" / "cache"):
        folder.mkdir(parents=True)
        with (folder / "large").open("wb") as stream:
            stream.truncate(1_500_000_000)  # takes no room
    (compiled / "link").symlink_to(root)
    notes = [finding for finding in disk(root) if finding.status == "note"]
    for finding, command in zip(notes, ("dvc gc --workspace", "mlflow gc ", f"rm -r {compiled}"), strict=True):
        assert "takes 1.5 GB of the disk: " in finding.text
        assert f"`{command}" in finding.text
    (root / ".git").mkdir()
    assert any("`dvc gc --all-commits --all-experiments` removes what no commit" in each.text for each in disk(root))


def test_a_cache_that_projects_share_is_freed_by_no_command_that_empties_it_for_the_others(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    (cache / "file").write_bytes(b"x" * 1000)
    for folder in (".dvc", ".git"):
        (root / folder).mkdir()
    (root / ".dvc" / "config").write_text(f"[cache]\n    dir = {cache}\n")
    told = "other projects may share it, and `dvc gc` removes what is theirs too where --projects does not name them"
    assert f"DVC's cache takes 1 kB of the disk: {told}" in [finding.text for finding in disk(root)]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    assert f"1 MB are free on the disk. DVC's cache: {told}" in [finding.text for finding in environment(root)]


def test_the_ends_of_trainings_are_told_and_no_leftover(root: Path) -> None:
    assert not any("ends" in text for text in texts(root))
    folder = root / "runs" / "ends" / RECENT
    folder.mkdir(parents=True)
    (folder / "snapshot-0000000100.pt").write_bytes(b"x" * 2000)
    hint = "a raised train.max_iters goes on from there; `gptmodel doctor --free ends` removes them"
    assert [text for text in texts(root) if "ends" in text] == [f"runs/ends has the end of a training (2 kB): {hint}"]
    assert list(free(root, "ends")) == ["runs/ends: removed (2 kB); longer trainings would start anew"]
    assert left(root) >= {RECENT, DAY, MONTH, LIVING}
    assert "ends" not in left(root)
