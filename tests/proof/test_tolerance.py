"""How metrics of other bytes are compared: without the time, and elsewhere with fractions within a tolerance."""

import json
from pathlib import Path
from typing import Any

import pytest

from gptmodel.project.lock import read_pipeline
from gptmodel.proof.outs import VOLATILE
from gptmodel.proof.tolerance import TIMED, TOLERANCE, compare_metrics, without_times

ROOT = Path(__file__).resolve().parents[2]
TRAIN = {"iterations": 5, "parameters": 9, "seconds": 1.5, "tokens_per_second": 8.0, "train_loss": 2.0, "val_loss": 2.5}
JUDGED = {"gap": 0.00005, "val": {"loss": 2.0, "tokens": 7}, "verdict": "healthy"}
TABLE = "iteration,tokens,seconds,learning_rate,train_loss,val_loss\n{},8,{},0.1,{},2.5\n"


def compared(path: str, old: Any, new: Any, other_platform: bool = True) -> tuple[str, str]:
    return compare_metrics(path, json.dumps(old).encode(), json.dumps(new).encode(), other_platform)


@pytest.mark.parametrize(
    ("changes", "same_platform", "other_platform"),
    [
        ({"seconds": 9.0}, "same, but for the time it took", "same, but for the time it took"),
        ({"val_loss": 2.549}, "differs", "within tolerance"),
        ({"val_loss": 2.451}, "differs", "within tolerance"),
        ({"val_loss": 2.552}, "differs", "differs"),
        ({"val_loss": 2.447}, "differs", "differs"),
        ({"val_loss": float("nan")}, "differs", "differs"),
        ({"val_loss": None}, "differs", "differs"),
        ({"val_loss": "2.5!"}, "differs", "differs"),
        ({"parameters": 10}, "differs", "differs"),
        ({"more": 1.0}, "differs", "differs"),
    ],
)
def test_what_may_be_apart_here_and_elsewhere(changes: dict[str, Any], same_platform: str, other_platform: str) -> None:
    assert compared("metrics/train.json", TRAIN, TRAIN | changes, other_platform=False)[0] == same_platform
    status, reason = compared("metrics/train.json", TRAIN, TRAIN | changes)
    assert status == other_platform
    if other_platform != same_platform or "val_loss" in changes:
        assert reason.startswith("val_loss 2.5 in the lock, ")
        assert reason.endswith(" % apart, 2 % allowed")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"gap": 0.00005 + 9e-6}, "within tolerance"),  # a fifth of it, yet nothing beside the losses
        ({"gap": 0.00005 + 11e-6}, "differs"),
        ({"val": {"loss": 2.0019, "tokens": 7}}, "within tolerance"),
        ({"val": {"loss": 2.0021, "tokens": 7}}, "differs"),
        ({"val": {"loss": 2.0, "tokens": 8}}, "differs"),
        ({"verdict": "overfitting"}, "differs"),
    ],
)
def test_an_evaluation_of_the_same_model_is_compared_closely(changes: dict[str, Any], status: str) -> None:
    assert compared("metrics/evaluate.json", JUDGED, JUDGED | changes)[0] == status


@pytest.mark.parametrize(
    ("cells", "status"),
    [
        ((100, 7.0, 2.0), "same, but for the time it took"),
        ((100, 3.0, 2.039), "within tolerance"),
        ((100, 3.0, 2.042), "differs"),
        ((101, 3.0, 2.0), "differs"),
    ],
)
def test_a_table_is_compared_cell_by_cell(cells: tuple[Any, ...], status: str) -> None:
    old = TABLE.format(100, 3.0, 2.0).encode()
    assert compare_metrics("metrics/history.csv", old, TABLE.format(*cells).encode(), True)[0] == status


def test_other_bytes_are_not_the_same_for_the_same_numbers() -> None:
    """Only where a time is left out can they be."""
    status, reason = compare_metrics("metrics/evaluate.json", b'{"gap": 1.5}', b'{"gap":1.5}', False)
    assert (status, reason) == ("differs", "the same numbers")


def test_what_is_no_json_differs() -> None:
    assert compare_metrics("metrics/train.json", b"{}", b"{", True)[0] == "differs"


def test_only_the_time_is_left_out() -> None:
    table = "iteration,tokens,seconds,val_loss\n0,0,{},{}\n"
    path = "metrics/history.csv"
    assert without_times(path, table.format(1, 4).encode()) == without_times(path, table.format(2, 4).encode())
    assert without_times(path, table.format(1, 4).encode()) != without_times(path, table.format(1, 5).encode())
    path = "metrics/train.json"
    assert without_times(path, b'{"seconds": 1, "val_loss": 4}') == without_times(
        path, b'{"seconds": 2, "val_loss": 4}'
    )
    assert without_times(path, b'{"seconds": 1, "val_loss": 4}') != without_times(
        path, b'{"seconds": 1, "val_loss": 5}'
    )
    with pytest.raises(ValueError, match="not a mapping"):
        without_times(path, b"[]")


def test_the_files_with_a_tolerance_are_metrics_of_the_pipeline() -> None:
    outs = {path: out.kind for stage in read_pipeline(ROOT / "dvc.yaml") for path, out in stage.outs.items()}
    assert {outs[path] for path in TOLERANCE} <= {"metrics", "plots"}


def test_volatile_and_timed_outs_are_outs_of_the_pipeline() -> None:
    outs = {path for stage in read_pipeline(ROOT / "dvc.yaml") for path in stage.outs}
    assert set(VOLATILE) | set(TIMED) <= outs
