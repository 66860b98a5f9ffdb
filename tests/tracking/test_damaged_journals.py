"""One journal that somebody spoilt, beside good ones: the good ones are sent, and it has a line."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tracking_helpers import ENVIRONMENT, Unsent, client, finish_journal, new_key, start_journal, sync

from gptmodel.doctor.leftovers import leftovers
from gptmodel.tracking import send_to_mlflow
from gptmodel.tracking.delivery import Delivery
from gptmodel.tracking.journal import Journal
from gptmodel.tracking.liveness import is_unsent
from gptmodel.tracking.mlflow_store import MlflowStore
from gptmodel.tracking.send_to_mlflow import _others, _send_next


def finished_journal(root: Path, experiment: str = "exp") -> Journal:
    """The journal of a run that ended and was not sent."""
    writer = start_journal(root, new_key())
    writer.metrics({"train/loss": 1.0}, 0, 1_700_000_000_000)
    finish_journal(writer)
    events = writer.journal.events_file
    events.write_text(events.read_text().replace('"exp"', json.dumps(experiment)))
    return writer.journal


def no_utf8(journal: Journal) -> None:
    with journal.events_file.open("ab") as stream:
        stream.write(b'{"kind": "tags", "values": {"\xff": "\xfe"}}\n')


def surrogates(journal: Journal) -> None:
    with journal.events_file.open("ab") as stream:
        stream.write(b'{"kind": "tags", "values": {"name": "\\udcff"}}\n')


def deep(journal: Journal) -> None:
    with journal.events_file.open("ab") as stream:
        stream.write(b"[" * 200_000 + b"\n")


def huge_time(journal: Journal) -> None:
    with journal.events_file.open("ab") as stream:
        stream.write(b'{"kind": "metrics", "values": {"a": 1}, "step": 1, "ms": 1%s}\n' % (b"0" * 400))


def no_file(journal: Journal) -> None:
    journal.events_file.unlink()
    journal.events_file.mkdir()


def pipe(journal: Journal) -> None:
    journal.events_file.unlink()
    os.mkfifo(journal.events_file)


def pipe_named(name: str) -> Callable[[Journal], None]:
    def damage(journal: Journal) -> None:
        os.mkfifo(journal.folder / name)

    damage.__name__ = f"{name}_is_a_pipe"
    return damage


def looping_lock(name: str) -> Callable[[Journal], None]:
    def damage(journal: Journal) -> None:
        (journal.folder / name).symlink_to(journal.folder / name)

    damage.__name__ = f"{name}_is_a_link_to_itself"
    return damage


def written(name: str, content: str) -> Callable[[Journal], None]:
    def damage(journal: Journal) -> None:
        (journal.folder / name).write_text(content)

    damage.__name__ = f"{name}_{content[:40]}"
    return damage


SENT_ALL_THE_SAME = [
    no_utf8,
    deep,
    written("sent.json", '{"offset": "7", "sending": false, "status": null}'),
    written("sent.json", '{"offset": -7, "sending": false, "status": null}'),
    written("sent.json", '{"offset": 0, "sending": [], "status": null}'),
    written("sent.json", '{"offset": 0, "sending": false, "status": {"value": 3}}'),
    written("sent.json", '{"offset": 1000000, "sending": false, "status": null}'),
    written("sent.json", "[" * 200_000),
    written("run.json", '{"run_id": [1], "store": 3, "experiment": {}}'),
    pipe_named("sent.json"),
]
NOT_SENT = [surrogates, huge_time, no_file, pipe, looping_lock("alive.lock"), looping_lock("send.lock")]


def sent_runs(root: Path) -> set[str]:
    """The keys of the journals that arrived whole."""
    store = client(root)
    runs = store.search_runs([experiment.experiment_id for experiment in store.search_experiments()])
    return {run.data.tags["gptmodel.journal"] for run in runs if run.data.metrics.get("train/loss") == 1.0}


def name(damage: Callable[[Journal], None]) -> str:
    return damage.__name__


@pytest.mark.parametrize("damage", SENT_ALL_THE_SAME + NOT_SENT, ids=name)
def test_a_damaged_journal_holds_back_no_other(root: Path, damage: Callable[[Journal], None]) -> None:
    first, bad, last = (finished_journal(root) for _ in range(3))
    damage(bad)
    if damage in NOT_SENT:
        with pytest.raises(Unsent) as caught:
            sync(root)
        assert str(caught.value).startswith(f"runs/tracking/{bad.key}: ")
        assert str(caught.value).endswith("; 1 of 3 runs are still to be sent")
        assert "\n" not in str(caught.value)
        lines = caught.value.lines
    else:
        lines = sync(root)
        assert bad.key in sent_runs(root)
    assert {first.key, last.key} <= sent_runs(root)
    assert len(lines) == (2 if damage in NOT_SENT else 3)
    assert all(line.startswith("sent run ") for line in lines)


@pytest.mark.parametrize("damage", SENT_ALL_THE_SAME + NOT_SENT, ids=name)
def test_doctor_goes_on_past_a_damaged_journal(root: Path, damage: Callable[[Journal], None]) -> None:
    damage(finished_journal(root))
    finished_journal(root)
    texts = [
        finding.text for finding in leftovers(root) if "runs/tracking" in finding.text or "tracked" in finding.text
    ]
    if damage in (no_file, pipe):
        assert re.search(r"runs/tracking/\w+: the record of a run is damaged: .*no regular file", texts.pop(0))
        assert "not fully sent to MLflow: 1;" in texts[0]
    else:
        assert "not fully sent to MLflow: 2;" in texts[0]
    assert len(texts) == 1


def test_doctor_goes_on_past_links_to_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "0123456789abcdef"
    folder.mkdir(parents=True)
    for file in ("snapshot-000000010.pt", ".model.pth.abcdefgh.tmp"):
        (folder / file).symlink_to(folder / file)
    assert any("a training stopped at iteration 10" in finding.text for finding in leftovers(tmp_path))


def test_several_that_cannot_be_sent_have_a_line_each(root: Path) -> None:
    gone = client(root).create_experiment("gone")
    client(root).delete_experiment(gone)
    bad = [finished_journal(root, "gone"), finished_journal(root, "gone")]
    good = finished_journal(root)
    with pytest.raises(Unsent, match="2 of 3 runs are still to be sent") as caught:
        sync(root)
    assert sent_runs(root) == {good.key}
    sent, other = caught.value.lines
    assert good.key in sent
    assert other.startswith("not sent: runs/tracking/")
    for line in (other, str(caught.value)):
        assert "experiment gone was deleted in MLflow" in line
        assert sum(journal.key in line for journal in bad) == 1


def test_a_training_sends_the_others_past_a_damaged_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the helper process does while a stage works; each is looked at once."""
    own, bad, good = (finished_journal(root) for _ in range(3))
    surrogates(bad)
    delivery, others = Delivery(MlflowStore(root), lambda *_: None), _others(root, own)
    looked_at: list[str] = []
    monkeypatch.setattr(
        send_to_mlflow, "is_unsent", lambda journal: looked_at.append(journal.key) or is_unsent(journal)
    )
    assert [_send_next(others, delivery) for _ in range(3)] == [True, True, False]
    assert looked_at == [bad.key, good.key]
    assert good.key in sent_runs(root)
    assert own.key not in sent_runs(root)


def test_the_command_prints_what_was_sent_and_ends_with_status_2(root: Path) -> None:
    good, bad = finished_journal(root), finished_journal(root)
    surrogates(bad)
    command = [sys.executable, "-m", "stages.cli", "sync"]
    result = subprocess.run(
        command, cwd=root, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr
    assert good.key in result.stdout
    assert bad.key in result.stderr
    assert (result.stdout.count("\n"), result.stderr.count("\n")) == (1, 1)
