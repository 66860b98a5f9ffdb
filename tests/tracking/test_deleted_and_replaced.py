"""What people do to a store: delete, restore and rename in it, or put another in its place. A line's proposal works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tracking_helpers import (
    ENVIRONMENT,
    Unsent,
    client,
    finish_journal,
    history,
    new_key,
    only_run,
    start_journal,
    sync,
)

from gptmodel.doctor.environment import environment
from gptmodel.tracking.delivery import Delivery
from gptmodel.tracking.journal import Journal, Sent, journals
from gptmodel.tracking.journal_writer import JournalWriter
from gptmodel.tracking.mlflow_store import MlflowStore


def unsent_journal(root: Path) -> Journal:
    """The journal of a run in the experiment `exp` that ended, with an artifact."""
    writer = start_journal(root, new_key())
    writer.metrics({"train/loss": 1.0}, 0, 1_700_000_000_000)
    file = root / "model.pth"
    file.write_text("model")
    writer.file(file, "model")
    finish_journal(writer)
    return writer.journal


def evaluate(journal: Journal, value: float) -> None:
    writer = JournalWriter(journal, again=True)
    writer.metrics({"eval/val_loss": value}, 0, 1_800_000_000_000)
    writer.close()


def experiment(root: Path, name: str) -> str:
    return str(client(root).get_experiment_by_name(name).experiment_id)


def runs(root: Path, name: str) -> list[str]:
    """The ids of the living runs of an experiment."""
    return [run.info.run_id for run in client(root).search_runs([experiment(root, name)])]


def artifacts(root: Path, run_id: str) -> list[str]:
    return [item.path for item in client(root).list_artifacts(run_id, "model")]


@pytest.mark.slow
def test_a_deleted_experiment_is_restored_as_the_line_says(root: Path) -> None:
    sync_one = unsent_journal(root)
    sync(root)
    client(root).delete_experiment(experiment(root, "exp"))
    evaluate(sync_one, 1.5)
    waiting = unsent_journal(root)
    with pytest.raises(Unsent, match="experiment exp was deleted in MLflow: restore it") as caught:
        sync(root, "exp")
    assert str(caught.value).endswith("; 2 of 2 runs are still to be sent")
    command = re.search(r"`mlflow (experiments restore .*?)`", str(caught.value))
    assert command
    restore = [sys.executable, "-m", "mlflow", *command[1].split()]
    subprocess.run(restore, cwd=root, env=ENVIRONMENT, check=True, capture_output=True)
    assert len(sync(root)) == 2
    assert sorted(runs(root, "exp")) == sorted(journal.run()["run_id"] for journal in (sync_one, waiting))
    assert client(root).get_run(sync_one.run()["run_id"]).data.metrics["eval/val_loss"] == 1.5
    assert "nothing to send" in sync(root)[0]


def test_what_waits_for_a_deleted_experiment_goes_to_another(root: Path) -> None:
    sent = unsent_journal(root)
    sync(root)
    client(root).delete_experiment(experiment(root, "exp"))
    evaluate(sent, 1.5)
    waiting = unsent_journal(root)
    assert len(sync(root, "other")) == 2
    moved, new = sent.run()["run_id"], waiting.run()["run_id"]
    assert sorted(runs(root, "other")) == sorted([moved, new])
    assert client(root).get_run(moved).data.metrics == {"train/loss": 1.0, "eval/val_loss": 1.5}
    assert artifacts(root, moved) == artifacts(root, new) == ["model/model.pth"]
    evaluate(sent, 2.5)
    sync(root, "third")  # where it is by now, is where it stays
    assert client(root).get_run(moved).data.metrics["eval/val_loss"] == 2.5
    assert client(root).get_experiment_by_name("third") is None


def test_a_training_goes_to_its_own_experiment_after_another_was_deleted(root: Path) -> None:
    """One that was killed, and goes on with another name of the experiment; as the helper process sends it."""
    journal = unsent_journal(root)
    client(root).delete_experiment(client(root).create_experiment("exp"))
    Delivery(MlflowStore(root), lambda *_: None, "other").send(journal)
    assert runs(root, "other") == [journal.run()["run_id"]]


def test_a_renamed_experiment_keeps_its_runs(root: Path) -> None:
    journal = unsent_journal(root)
    sync(root)
    client(root).rename_experiment(experiment(root, "exp"), "renamed")
    evaluate(journal, 1.5)
    sync(root)
    assert history(root, "eval/val_loss") == [(0, 1.5)]
    assert client(root).get_experiment_by_name("exp") is None


def test_a_deleted_run_holds_back_nothing_and_is_whole_when_it_is_restored(root: Path) -> None:
    journal = unsent_journal(root)
    sync(root)
    run_id = journal.run()["run_id"]
    client(root).delete_run(run_id)
    evaluate(journal, 1.5)
    other = unsent_journal(root)
    lines = sync(root)
    assert [line for line in lines if "was deleted in MLflow" in line]
    assert not other.pending
    assert not journal.pending
    assert "nothing to send" in sync(root)[0]
    client(root).restore_run(run_id)
    [line] = sync(root)
    assert run_id in line
    assert client(root).get_run(run_id).data.metrics == {"train/loss": 1.0, "eval/val_loss": 1.5}
    assert len(client(root).get_metric_history(run_id, "train/loss")) == 1
    assert "nothing to send" in sync(root)[0]


def test_a_purged_run_does_not_come_back(root: Path) -> None:
    """Deleted for good with `mlflow gc`, in the same store."""
    journal = unsent_journal(root)
    sync(root)
    client(root).delete_run(journal.run()["run_id"])
    client(root)._tracking_client.store._hard_delete_run(journal.run()["run_id"])
    assert "nothing to send" in sync(root)[0]


def test_a_run_that_was_deleted_evaluated_and_purged_does_not_come_back(root: Path) -> None:
    journal = unsent_journal(root)
    sync(root)
    run_id = journal.run()["run_id"]
    client(root).delete_run(run_id)
    evaluate(journal, 1.5)
    sync(root)
    client(root)._tracking_client.store._hard_delete_run(run_id)
    assert "nothing to send" in sync(root)[0]


def test_a_deleted_run_is_not_made_again_where_its_mark_is_lost(root: Path) -> None:
    journal = unsent_journal(root)
    sync(root)
    run_id = journal.run()["run_id"]
    client(root).delete_run(run_id)
    (journal.folder / "run.json").unlink()
    assert "nothing to send" in sync(root)[0]
    evaluate(journal, 1.5)
    assert f"{run_id} was deleted in MLflow" in sync(root)[1]
    assert runs(root, "exp") == []
    assert journal.run()["run_id"] == run_id


@pytest.mark.parametrize(
    "damage",
    [
        "removed",
        pytest.param("not a database", marks=pytest.mark.slow),
        "a torn page",
        pytest.param("replaced", marks=pytest.mark.slow),
    ],
)
def test_a_store_that_is_gone_is_filled_again_as_doctor_says(root: Path, tmp_path: Path, damage: str) -> None:
    journal = unsent_journal(root)
    sync(root)
    evaluate(journal, 1.5)
    sync(root)
    root = Path(shutil.copytree(root, tmp_path / "copy"))  # this process has the other database open
    [journal] = journals(root)
    former, database = journal.run()["run_id"], root / "mlflow.db"
    if damage == "replaced":
        database.unlink()
        client(root).search_experiments()
    elif damage == "removed":
        database.unlink()
    else:
        content = bytearray(database.read_bytes())
        middle = len(content) // 2 if damage == "a torn page" else 0
        content[middle : middle + 8192] = b"no database " * 682 + b"damaged!"
        database.write_bytes(content)
    lines = [finding.text for finding in environment(root) if "mlflow.db" in finding.text]
    if damage != "replaced":
        [line] = lines
        assert "`gptmodel sync` fills a new one" in line
        assert ("or its runs are in another store" in line) == (damage == "removed")  # nobody knows that it was here
    if "move it away" in "".join(lines):
        if damage == "not a database":  # a torn page may be met late
            with pytest.raises(Unsent, match="; whether it has the 1 run of this project cannot be told"):
                sync(root)
        database.rename(root / "damaged.db")
    [line] = sync(root)
    run = only_run(root)
    assert run.info.run_id in line
    assert run.info.run_id != former
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"train/loss": 1.0, "eval/val_loss": 1.5})
    assert artifacts(root, run.info.run_id) == ["model/model.pth"]
    assert "nothing to send" in sync(root)[0]
    assert not [line for line in environment(root) if "mlflow.db" in line.text and line.status != "ok"]


def test_another_store_gets_all_and_the_first_is_not_sent_anything_twice(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = unsent_journal(root)
    sync(root)
    first = journal.run()["run_id"]
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}/mlflow.db")
    assert len(sync(root)) == 1
    assert only_run(other).data.metrics == {"train/loss": 1.0}
    assert artifacts(other, only_run(other).info.run_id) == ["model/model.pth"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sync(root)
    assert only_run(root).info.run_id == first
    assert history(root, "train/loss") == [(0, 1.0)]


def test_a_journal_of_an_older_version_is_not_sent_again(root: Path) -> None:
    """It does not say which store has it."""
    journal = unsent_journal(root)
    sync(root)
    journal.mark_run(journal.run()["run_id"], "exp")
    assert "nothing to send" in sync(root)[0]
    assert journal.sent() == Sent(offset=journal.size)
    assert journal.run()["store"]
    assert [each.key for each in journals(root)] == [journal.key]
