"""`fetch.source` names a file: DVC sees it change, wherever a stage runs, and no command writes to it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_helpers import Project, ran, text, wait_until

CHANGED = "has changed since dvc.lock was written; this experiment trains on it as it is now (sha256 "


@pytest.fixture
def source(project: Project) -> Path:
    """A text beside the project, which fetch.source names and which was fetched once."""
    path = project.root.parent / "my text.txt"
    path.write_text(text(1), encoding="utf-8")
    project.configure({"fetch.source": "../my text.txt"})
    project.dvc("repro", "prepare")
    return path


def trained_on(project: Project, source: Path) -> bool:
    """Whether prepare has read the source as it is now."""
    return bool(project.read_json("metrics/prepare.json")["text_sha256"] == project.sha256(str(source)))


@pytest.mark.slow
def test_a_changed_file_is_fetched_again_and_one_that_is_gone_is_named(project: Project, source: Path) -> None:
    assert trained_on(project, source)
    assert "Data and pipelines are up to date." in project.dvc("repro", "prepare")
    source.write_text(text(2), encoding="utf-8")
    assert "data/fetch.source" in project.dvc("status", "fetch")
    assert ran(project.dvc("repro", "prepare")) == ["fetch", "prepare"]
    assert trained_on(project, source)
    source.rename(source.with_name("away.txt"))
    gone = project.dvc("repro", "prepare", status=None)
    assert "failed to reproduce 'fetch'" in gone
    assert "data/fetch.source" in gone
    project.configure({"fetch.source": "../away.txt"})
    assert ran(project.dvc("repro", "prepare")) == ["fetch", "prepare"]  # the same text under another name
    away = source.with_name("away.txt")
    before = away.read_bytes(), away.stat().st_mtime_ns, away.stat().st_mode
    for command in (("checkout", "--force"), ("commit", "--force", "fetch"), ("repro", "--force", "fetch")):
        project.dvc(*command)
    assert (away.read_bytes(), away.stat().st_mtime_ns, away.stat().st_mode) == before
    assert (project.root / "data" / "fetch.source").samefile(away)


@pytest.mark.slow
def test_any_change_of_a_folder_of_a_pattern_and_of_the_val_text_is_seen(project: Project) -> None:
    """A file that is changed, added, taken away or renamed; and DVC does nothing to the folder behind the link."""
    texts, held_out = project.root.parent / "texts", project.root.parent / "held out.txt"
    (texts / "sub").mkdir(parents=True)
    for name in ("b.txt", "sub/a.txt"):
        (texts / name).write_text(text(len(name)), encoding="utf-8")
    held_out.write_text(text(8), encoding="utf-8")
    project.configure({"fetch.source": "../texts", "prepare.val_source": "../held out.txt"})
    project.dvc("repro", "prepare")
    assert "Data and pipelines are up to date." in project.dvc("repro", "prepare")

    def after(change: Callable[[], object]) -> list[str]:
        change()
        texts.chmod(0o555)
        files = sorted(texts.rglob("*.txt"))
        before = [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in files]
        stages = ran(project.dvc("repro", "prepare"))
        assert [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(texts.rglob("*.txt"))] == before
        assert texts.stat().st_mode & 0o777 == 0o555
        texts.chmod(0o755)
        listed = project.read_json("metrics/fetch.json")["documents"]
        assert [document["name"] for document in listed] == [path.relative_to(texts).as_posix() for path in files]
        prepared = project.read_json("metrics/prepare.json")
        assert prepared["documents"] == listed
        assert prepared["text_sha256"] == project.sha256("data/input.txt")
        assert prepared["val_text_sha256"] == project.sha256(str(held_out))
        return stages

    assert after(lambda: (texts / "sub" / "a.txt").write_text(text(3), encoding="utf-8")) == ["fetch", "prepare"]
    before = project.tree()
    assert after(lambda: (texts / "b.txt").rename(texts / "c.txt")) == ["fetch", "prepare"]  # for the list's sake
    changed = {name for name, digest in project.tree().items() if before[name] != digest}
    assert changed == {"dvc.lock", "metrics/fetch.json", "metrics/prepare.json"}  # so nothing is trained anew
    assert after(lambda: held_out.write_text(text(9), encoding="utf-8")) == ["fetch", "prepare"]
    project.configure({"fetch.source": "../texts/**/*.txt"})
    assert after(lambda: (texts / "sub" / "e.txt").write_text(text(5), encoding="utf-8")) == ["fetch", "prepare"]
    project.commit()
    (texts / "sub" / "e.txt").unlink()
    output = project.dvc("exp", "run", "--temp", "prepare", "-S", "prepare.test_fraction=0.1")
    assert "from ../texts/**/*.txt (2 files), written" in output
    assert CHANGED in output


@pytest.mark.slow
def test_an_experiment_elsewhere_reads_the_same_file_and_says_that_it_has_changed(
    project: Project, source: Path
) -> None:
    project.commit()
    assert CHANGED not in project.dvc("exp", "run", "--temp", "prepare", "-S", "prepare.train_fraction=0.7")
    source.write_text(text(2), encoding="utf-8")
    output = project.dvc("exp", "run", "--temp", "prepare", "-S", "prepare.train_fraction=0.6")
    assert f"{CHANGED}{project.sha256(str(source))[:12]})" in output
    assert ran(output) == ["fetch", "prepare"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["own", "path"])
def test_a_queued_experiment_says_and_tracks_which_text_it_trained_on(
    project: Project, source: Path, kind: str
) -> None:
    if kind == "own":
        project.configure({"fetch.source": "own"})
        source = project.root / "data" / "input.txt"
        project.dvc("repro", "fetch")
    project.commit()
    project.dvc("exp", "run", "--queue", "--name", "waited", "-S", "train.seed=5", "train")
    source.write_text(text(2), encoding="utf-8")
    project.start_queue()

    def ended() -> bool:
        status = project.dvc("queue", "status")
        assert "Failed" not in status, status + project.dvc("queue", "logs", "waited", status=None)
        return "Success" in status

    wait_until(ended, "the queue", pause=3)
    assert f"{CHANGED}{project.sha256(str(source))[:12]})" in project.dvc("queue", "logs", "waited")
    run = project.mlflow_runs()[-1]
    assert run.data.tags["dvc.exp.name"] == "waited"
    assert run.data.tags["text.sha256"] == project.sha256(str(source))
