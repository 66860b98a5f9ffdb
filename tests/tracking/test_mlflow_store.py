"""A real MLflow store, sent to from this process."""

import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from model_helpers import language_model, small_model
from tracking_helpers import client, finish_journal, history, new_key, only_run, python, start_journal, sync

import gptmodel
from gptmodel.checkpoint.model_file import save_model
from gptmodel.errors import GptModelError
from gptmodel.tracking.failures import plain
from gptmodel.tracking.journal import Journal, Sent
from gptmodel.tracking.journal_writer import JournalWriter
from gptmodel.tracking.lookup import download_model


def whole_run(root: Path) -> Journal:
    writer = start_journal(root, new_key())
    writer.params({"model.n_embd": "64", "train.beta1": "None"})
    writer.tags({"gptmodel.git.dirty": "false"})
    for step in range(0, 50, 10):
        writer.metrics({"train/loss": 4.0 - step / 100, "nan": float("nan")}, step, 1_700_000_000_000 + step)
    writer.event("dataset", name="plays", digest="1234", source="data/input.txt", context="training", tags={"n": "1"})
    file = root / "model.pth"
    file.write_bytes(b"model")
    writer.file(file, "model")
    finish_journal(writer)
    return writer.journal


def test_two_that_make_an_experiment_at_once(root: Path) -> None:
    """The other one, on another machine, makes it right after this one was told that there is none."""
    whole_run(root)
    ask, answers = mlflow.MlflowClient.get_experiment_by_name, []
    with pytest.MonkeyPatch.context() as patch:

        def overtaken(client: mlflow.MlflowClient, name: str) -> object:
            answers.append(ask(client, name))
            if len(answers) == 2:  # the first time it looked for the run
                client.create_experiment(name, root.as_uri())
            return answers[-1]

        patch.setattr(mlflow.MlflowClient, "get_experiment_by_name", overtaken)
        sync(root)
    assert answers[:2] == [None, None]
    assert only_run(root).info.status == "FINISHED"


LOSSES = [(step, 4.0 - step / 100) for step in range(0, 50, 10)]


@pytest.mark.parametrize("name", ["project", "a b", "#1 50%2", "Große Übung ß"])
def test_everything_arrives(tmp_path: Path, template: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    shutil.copy(template, root / "mlflow.db")
    journal = whole_run(root)
    [line] = sync(root)
    run = only_run(root)
    assert run.info.run_id in line
    assert run.info.run_name == "name"
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        1_700_000_000_000,
        1_700_000_009_000,
    )
    assert run.data.params == {"model.n_embd": "64", "train.beta1": "None"}
    assert run.data.tags.items() >= {"gptmodel.git.dirty": "false", "gptmodel.journal": journal.key}.items()
    assert history(root, "train/loss") == LOSSES
    assert len(history(root, "nan")) == 5
    [dataset] = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("plays", "1234")
    assert {tag.key: tag.value for tag in dataset.tags} == {"mlflow.data.context": "training", "n": "1"}
    stored = root / "mlartifacts" / run.info.run_id / "artifacts" / "model" / "model.pth"
    assert stored.read_bytes() == b"model"
    assert journal.run()["run_id"] == run.info.run_id
    assert not any(journal.files_folder.iterdir())
    assert "nothing to send" in sync(root)[0]


@pytest.mark.parametrize("forgotten", [["sent.json"], ["run.json"], ["sent.json", "run.json"]], ids=str)
def test_what_was_sent_and_not_remembered_is_not_repeated(root: Path, forgotten: list[str]) -> None:
    journal = whole_run(root)
    sync(root)
    for name in forgotten:
        (journal.folder / name).unlink()
    journal.mark_sent(Sent())
    sync(root)
    assert history(root, "train/loss") == LOSSES


def test_a_lost_journal_does_not_repeat_a_resumed_run(root: Path) -> None:
    journal = whole_run(root)
    sync(root)
    shutil.rmtree(journal.folder)
    writer = start_journal(root, journal.key)  # the key is in the snapshot
    writer.metrics({"train/loss": LOSSES[-1][1]}, 40, 1_800_000_000_000)  # another time: MLflow would take it
    writer.metrics({"train/loss": 1.0}, 50, 1_800_000_000_001)
    finish_journal(writer)
    sync(root)
    assert history(root, "train/loss") == [*LOSSES, (50, 1.0)]


def test_a_deleted_database_gets_the_run_again(root: Path, template: Path) -> None:
    whole_run(root)
    sync(root)
    shutil.copy(template, root / "mlflow.db")
    journal = next(path for path in (root / "runs" / "tracking").iterdir() if path.is_dir())
    writer = JournalWriter(Journal(root, journal.name), again=True)
    writer.metrics({"eval/val_loss": 1.5}, 0, 1_800_000_000_000)
    writer.close()
    sync(root)
    run = only_run(root)
    assert run.data.tags["imported"] == "true"
    assert run.info.status == "FINISHED"
    assert history(root, "train/loss") == LOSSES
    assert history(root, "eval/val_loss") == [(0, 1.5)]


def test_a_model_from_elsewhere_gets_a_run(root: Path) -> None:
    writer = start_journal(root, new_key(), imported=True)
    writer.journal.mark_run("0" * 32, "exp")
    writer.metrics({"eval/val_loss": 1.5}, 0, 1)
    writer.close()
    sync(root)
    run = only_run(root)
    assert (run.info.status, run.data.tags["imported"]) == ("FINISHED", "true")
    assert history(root, "eval/val_loss") == [(0, 1.5)]


def test_a_run_deleted_by_the_user_stays_deleted(root: Path) -> None:
    journal = whole_run(root)
    sync(root)
    client(root).delete_run(journal.run()["run_id"])
    writer = JournalWriter(journal, again=True)
    writer.metrics({"eval/val_loss": 1.5}, 0, 1)
    writer.close()
    assert "was deleted in MLflow" in "".join(sync(root))
    assert not journal.pending


def test_a_name_that_mlflow_refuses_is_told(root: Path) -> None:
    writer = start_journal(root, new_key())
    writer.metrics({"what?": 1.0, "loss": 2.0}, 0, 1)
    finish_journal(writer)
    lines = sync(root)
    assert len(lines) == 2
    assert "what?" in lines[1]
    assert history(root, "loss") == [(0, 2.0)]


def test_artifacts_that_cannot_be_written_wait(root: Path) -> None:
    journal = whole_run(root)
    (root / "mlartifacts").write_text("in the way")
    with pytest.raises(GptModelError, match="1 of 1 runs are still to be sent"):
        sync(root)
    assert history(root, "train/loss") == LOSSES
    assert only_run(root).info.status == "FINISHED"
    (root / "mlartifacts").unlink()
    sync(root)
    assert not journal.pending
    assert (root / "mlartifacts" / only_run(root).info.run_id / "artifacts" / "model" / "model.pth").exists()


def test_a_locked_database_is_seen_quickly(root: Path) -> None:
    whole_run(root)
    holder = sqlite3.connect(root / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    with pytest.raises(GptModelError, match="database is locked"):
        sync(root)
    assert time.monotonic() - start < 5
    holder.close()
    sync(root)
    assert history(root, "train/loss") == LOSSES


def test_reading_takes_no_lock_and_makes_no_folder(root: Path, tmp_path: Path) -> None:
    """Where nothing can be written, and beside somebody who writes."""
    whole_run(root)
    sync(root)
    shutil.rmtree(root / "runs")
    (root / "runs").touch()
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert download_model(root, only_run(root).info.run_id, tmp_path).read_bytes() == b"model"


def test_what_cannot_be_a_database_is_told(tmp_path: Path) -> None:
    root = tmp_path / "why?"
    whole_run_in = root / "runs"
    whole_run_in.mkdir(parents=True)
    whole_run(root)
    with pytest.raises(GptModelError, match="question mark"):
        sync(root)
    assert [path.name for path in tmp_path.iterdir()] == ["why?"]
    root.rename(tmp_path / "why")
    (tmp_path / "why" / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 9)
    with pytest.raises(GptModelError, match="not a database"):
        sync(tmp_path / "why")


@pytest.mark.parametrize("kind", ["FIFO", "link to nothing", "link to an empty file", "folder"])
def test_what_is_no_regular_file_is_not_replaced_by_a_database(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Devices are told by the same question, and are not tried: as root one of the system would be gone."""
    place, target = tmp_path / "place", tmp_path / "target"
    if kind == "FIFO":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(target)
        if kind == "link to an empty file":
            target.touch()
    before = (place.lstat().st_ino, place.lstat().st_mode, target.exists() and target.stat().st_size)
    journal = whole_run(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}")
    with pytest.raises(GptModelError, match=r"place is no regular file; move it away, or set MLFLOW_TRACKING_URI"):
        sync(root)
    assert (place.lstat().st_ino, place.lstat().st_mode, target.exists() and target.stat().st_size) == before
    assert journal.pending
    assert {path.name for path in tmp_path.iterdir()} <= {"place", "target", "project"}


def test_a_link_to_a_database_is_followed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "place").symlink_to(root / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'place'}")
    whole_run(root)
    sync(root)
    assert history(root, "train/loss") == LOSSES
    assert (tmp_path / "place").is_symlink()


def test_a_server_that_refuses_is_told_without_its_password(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_run(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(GptModelError, match="Connection refused") as caught:
        sync(root)
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sync(root)
    assert history(root, "train/loss") == LOSSES
    assert mlflow.get_tracking_uri() != "http://user:secret@127.0.0.1:9"


def test_what_a_database_says_is_passed_on_without_its_frame() -> None:
    text = "(psycopg.OperationalError) connection failed:\nno such role\n(Background on this error at: https://x/e3q8)"
    assert plain(RuntimeError(text)) == "connection failed: no such role"


def test_a_library_that_is_missing_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_run(root)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1:9/runs")
    with pytest.raises(GptModelError) as caught:
        sync(root)
    mend = "psycopg is not installed: `pip install -r requirements-remote.txt`"
    assert str(caught.value) == f"{mend}; 1 of 1 runs are still to be sent"


@pytest.mark.slow
def test_a_kill_during_the_first_migration_leaves_a_store_that_opens(tmp_path: Path) -> None:
    whole_run(tmp_path)
    code = (
        "import sys; from pathlib import Path; from gptmodel.tracking.sync import send_all as s; "
        "s(Path(sys.argv[1]), None, lambda *_: None, print)"
    )
    process = python(code, tmp_path)
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 60_000 for file in tmp_path.glob("mlflow.db*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(sync(tmp_path)) == 1
    assert history(tmp_path, "train/loss") == LOSSES


def test_a_model_is_loaded_from_its_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = language_model(small_model())
    save_model(root / "model.pth", model, {})
    keys = []
    for files in ([root / "model.pth"], []):
        writer = start_journal(root, new_key())
        for file in files:
            writer.file(file, "model")
        keys.append(writer.journal)
        finish_journal(writer)
    sync(root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    whole, empty = (journal.run()["run_id"] for journal in keys)
    loaded = gptmodel.load(f"runs:/{whole}")
    assert loaded.params == model.params
    assert repr(loaded).startswith("TextModel('runs:/")
    with pytest.raises(GptModelError, match=r"has no model/model\.pth; its training did not end, or `gptmodel sync`"):
        gptmodel.load(f"runs:/{empty}")
    for wrong in ("0123", "", "no such/run"):
        with pytest.raises(GptModelError, match=f"^runs:/{wrong}: .* has no such run; `gptmodel ui`"):
            gptmodel.load(f"runs:/{wrong}")
