"""Snapshots: a resumed run is the run that was never killed, bit by bit, and a damaged file is passed over."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import ROOT, equal_states
from training_helpers import new_state, plain_run, rows_without_time, trained, varied

from gptmodel.evaluation.history import Evaluation
from gptmodel.files import fingerprint
from gptmodel.training.loop import fit
from gptmodel.training.snapshot import SnapshotStore
from gptmodel.training.state import TrainingState


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested state as one table."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{name}.{key}").items()}
    if isinstance(value, (list, tuple)):
        return flat(dict(enumerate(value)), name)
    return {name: value}


def assert_same_state(one: TrainingState, other: TrainingState) -> None:
    """Weights, optimizer, scaler and history, all to the bit; only the seconds differ."""
    values, other_values = (flat(state.state_dict()) for state in (one, other))
    assert list(values) == list(other_values)
    for name, value in values.items():
        if name.endswith(".seconds"):
            continue
        same = (
            torch.equal(value, other_values[name]) if isinstance(value, torch.Tensor) else value == other_values[name]
        )
        assert same, name
    assert rows_without_time(one) == rows_without_time(other)


MUON = {"muon_lr": 0.1, "muon_momentum": 0.9}


@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_resumed_run_is_the_straight_run(tmp_path: Path, optimizer: str, killed_at: int) -> None:
    counting = {"kneser_ney": 3, "kneser_ney_share": 0.3}
    gpt2 = {"qkv_bias": True, "tie_embeddings": True, "decoder_bias": False}
    taught = {"teacher_order": 3, "teacher_share": 0.3}
    sections: dict[str, Any] = {
        "model": {"dropout": 0.2, "ngram_orders": [2], **counting, **gpt2},
        "train": {
            "optimizer": optimizer,
            **MUON,
            **taught,
            "lr_schedule": "cosine",
            "warmup_iters": 2,
            "grad_clip": 0.5,
        },
    }
    straight = trained(**sections)
    store, killed = SnapshotStore(tmp_path), new_state(**sections)
    run = varied(
        plain_run(**sections),
        save=lambda state: store.save(state.iteration, state.state_dict()),
        stopped=lambda: killed.iteration == killed_at,
    )
    assert fit(killed, *run) is False
    snapshot = store.load_newest()
    assert snapshot is not None
    resumed = new_state(seed=99, **sections)  # other first weights: the snapshot has to replace them
    resumed.load_state_dict(snapshot)
    assert_same_state(resumed, killed)
    assert resumed.seconds == killed.seconds
    assert fit(resumed, *plain_run(**sections)) is True
    assert_same_state(resumed, straight)


@pytest.mark.parametrize("seconds", [0.0, 1000.0], ids=["due", "stopped"])
def test_nothing_is_kept_before_the_first_iteration(seconds: float) -> None:
    saved: list[int] = []
    state = new_state()
    run = varied(
        plain_run(),
        save=lambda state: saved.append(state.iteration),
        stopped=lambda: seconds > 0.0 or state.iteration == 2,
        snapshot_seconds=seconds or 1e-9,
    )
    assert fit(state, *run) is False
    assert saved == ([] if seconds else [1, 2])


def test_a_run_killed_after_each_iteration_is_the_straight_run(tmp_path: Path) -> None:
    sections = {"model": {"dropout": 0.2}}
    store = SnapshotStore(tmp_path)
    for kill in (*range(1, 6), None):
        state = new_state(seed=50 + (kill or 0), **sections) if kill != 1 else new_state(**sections)
        if (snapshot := store.load_newest()) is not None:
            state.load_state_dict(snapshot)
        fit(
            state,
            *varied(
                plain_run(**sections),
                save=lambda s: store.save(s.iteration, s.state_dict()),
                stopped=lambda state=state, kill=kill: state.iteration == kill,  # type: ignore[misc]
            ),
        )
    assert_same_state(state, trained(**sections))


def test_the_comparison_sees_one_bit() -> None:
    one, other = trained(), trained()
    assert_same_state(one, other)
    moment = next(iter(other.optimizer.state.values()))["exp_avg"]
    moment.view(torch.int32)[0, 0] ^= 1
    with pytest.raises(AssertionError, match="exp_avg"):
        assert_same_state(one, other)


def test_a_snapshot_holds_no_counts_and_cannot_bring_those_of_another_text() -> None:
    state = new_state(model={"kneser_ney": 3, "kneser_ney_share": 0.3})
    snapshot = state.state_dict()
    assert state.fits(snapshot)
    assert not [name for name in snapshot["model"] if "kneser" in name]
    snapshot["model"]["kneser_ney.counts"] = torch.ones(3, dtype=torch.int64)
    assert not state.fits(snapshot)


def test_a_snapshot_is_of_its_moment(tmp_path: Path) -> None:
    """What is trained on after the save is not in it."""
    store, state = SnapshotStore(tmp_path), trained()
    store.save(6, state.state_dict())
    before = {name: tensor.clone() for name, tensor in state.model.transformer.state_dict().items()}
    with torch.no_grad():
        state.model.transformer.decoder.weight.add_(1.0)
    snapshot = store.load_newest()
    assert snapshot is not None
    assert equal_states(dict(snapshot["model"]), before)


def test_a_training_with_very_many_evaluations_goes_on(tmp_path: Path) -> None:
    state, store = new_state(), SnapshotStore(tmp_path)
    row = Evaluation(iteration=0, tokens=0, seconds=0.1, learning_rate=0.01, train_loss=1.5, val_loss=2.5)
    state.iteration = 150_000
    state.history = [replace(row, iteration=number, val_loss=1 / (number + 3)) for number in range(state.iteration)]
    store.save(state.iteration, state.state_dict())
    snapshot, resumed = store.load_newest(state.fits), new_state()
    assert snapshot is not None
    resumed.load_state_dict(snapshot)
    assert resumed.history == state.history


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("iteration", [0, 3, 3]),
        ("iteration", [0, 5, 3]),
        ("iteration", [0, 3, 7]),  # after the snapshot
        ("iteration", [-1, 3, 6]),
        ("iteration", [[0], [3], [6]]),
        ("iteration", [0, 3]),
        ("tokens", [0, 3, 1 << 53]),
        ("val_loss", [1.0, 2.0, float("nan")]),
        ("val_loss", [1, 2, 3]),
        ("val_loss", [1.0, 2.0]),
        ("val_los", [1.0, 2.0, 3.0]),
    ],
)
def test_a_history_that_no_training_has_is_not_gone_on_from(column: str, values: list[Any]) -> None:
    state = trained()
    snapshot = state.state_dict()
    assert snapshot["history"]["iteration"].tolist() == [0, 3, 6]
    assert state.fits(snapshot)
    snapshot["history"][column] = torch.tensor(values, dtype=torch.float64 if isinstance(values[0], float) else None)
    assert not state.fits(snapshot)


def saved(folder: Path, *iterations: int) -> tuple[SnapshotStore, dict[int, Path]]:
    """A store of small states, each with its iteration in it."""
    store = SnapshotStore(folder)
    for iteration in iterations:
        store.save(iteration, {"iteration": iteration, "weights": torch.full((50,), float(iteration))})
    return store, {int(path.stem.rpartition("-")[2]): path for path in folder.iterdir()}


def newest(store: SnapshotStore) -> int | None:
    snapshot = store.load_newest()
    return None if snapshot is None else snapshot["iteration"]


def test_the_newest_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    store, paths = saved(tmp_path, 9, 10, 200)
    assert sorted(paths) == [10, 200]
    assert newest(store) == 200


READING = """
import sys
from pathlib import Path
from gptmodel.training.snapshot import SnapshotStore

def peak() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

before = peak()
assert SnapshotStore(Path(sys.argv[1])).load_newest() is not None
print(peak() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other units")
def test_to_read_a_snapshot_takes_little_more_memory_than_its_state(tmp_path: Path) -> None:
    """Else a training that just fits into the memory could not go on after a kill."""
    weights = {str(number): torch.full((1 << 20,), float(number)) for number in range(24)}
    SnapshotStore(tmp_path).save(1, weights)
    command = [sys.executable, "-c", READING, str(tmp_path)]
    result = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert 1.0 < int(result.stdout) / (24 << 22) < 1.5


def test_an_empty_or_missing_folder_has_no_snapshot(tmp_path: Path) -> None:
    assert newest(SnapshotStore(tmp_path)) is None
    assert newest(SnapshotStore(tmp_path / "missing")) is None


@pytest.mark.parametrize("damage", ["cut to nothing", "cut by one", "cut in the head", "another file", "a folder"])
def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, damage: str) -> None:
    store, paths = saved(tmp_path, 1, 2)
    for iteration, expected in ((2, 1), (1, None)):
        content = paths[iteration].read_bytes()
        paths[iteration].unlink()
        if damage == "a folder":
            paths[iteration].mkdir()
        else:
            damaged = {"cut to nothing": b"", "cut by one": content[:-1], "cut in the head": content[:30]}
            paths[iteration].write_bytes(damaged.get(damage, b"gptmodel snapshot 1\nnot really"))
        assert newest(store) == expected


def test_a_snapshot_with_any_bit_flipped_is_passed_over(tmp_path: Path) -> None:
    store, paths = saved(tmp_path, 1, 2)
    content = paths[2].read_bytes()
    head = len(b"gptmodel snapshot 1\n") + 64  # the line break after the digest tells nothing
    places = [*range(0, 100, 7), *range(100, len(content), len(content) // 60), len(content) - 1]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        paths[2].write_bytes(flipped)
        assert newest(store) == 1 or place == head, place
    paths[2].write_bytes(content)
    assert newest(store) == 2


def test_what_is_saved_after_damaged_ones_is_kept(tmp_path: Path) -> None:
    """A training that begins again has fewer iterations than the damaged snapshots say."""
    store, paths = saved(tmp_path, 8, 9)
    for path in paths.values():
        path.write_bytes(b"damaged")
    assert newest(store) is None
    for iteration, kept in ((1, [1]), (2, [1, 2]), (3, [2, 3])):
        _, paths = saved(tmp_path, iteration)
        assert newest(store) == iteration
        assert sorted(paths) == kept


def test_clearing_forgets_all(tmp_path: Path) -> None:
    store, _ = saved(tmp_path / "run", 1, 2)
    store.clear()
    assert newest(store) is None
    store.clear()


def test_fingerprints_are_equal_for_equal_parts_and_for_no_others() -> None:
    parts: dict[str, Any] = {"train": {"seed": 1, "beta1": 0.9}, "data": {"train.bin": "00"}}
    turned = {"data": {"train.bin": "00"}, "train": {"beta1": 0.9, "seed": 1}}
    assert fingerprint(parts) == fingerprint(turned)
    others = [
        {**parts, "train": {"seed": 2, "beta1": 0.9}},
        {**parts, "train": {"seed": 1, "beta1": None}},
        {**parts, "data": {"train.bin": "01"}},
        {**parts, "platform": {}},
    ]
    assert len({fingerprint(other) for other in (parts, *others)}) == 5
