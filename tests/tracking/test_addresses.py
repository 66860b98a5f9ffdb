"""Every address that MLflow takes is let through; the table of tests/test_bad_input.py has those that can be none."""

from pathlib import Path

import pytest

from gptmodel.doctor.environment import environment
from gptmodel.errors import GptModelError
from gptmodel.tracking.addresses import check_address


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "http://user:secret@host",
        "https://host/path/",
        "databricks",
        "databricks://profile",
        "postgresql://user:se/cret@127.0.0.1:5432/runs",
        "postgresql+psycopg://user@host/runs?sslmode=require",
        "mysql+pymysql://user@host/runs",
        "sqlite:///relative.db",
        "sqlite:////a folder/mlflow.db",
    ],
)
def test_an_address_of_a_store(uri: str) -> None:
    check_address(uri)


def test_a_folder_where_mlflow_is_told_to_allow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_address("mlruns")
    check_address("file:///tmp/mlruns")
    with pytest.raises(GptModelError, match="s3:// is no kind of store"):
        check_address("s3://bucket/mlruns")


@pytest.mark.parametrize("uri", ["http://[1", "http://user:p]w[d@h:1", "postgresql://user:p]w[d@h/runs", "ftp://[1"])
def test_brackets_that_hold_no_address(uri: str) -> None:
    with pytest.raises(GptModelError, match=r"^MLFLOW_TRACKING_URI = .*: is no address; it has to look like") as caught:
        check_address(uri)
    assert not [part for part in ("user", "p]w", "w[d") if part in str(caught.value)]


def test_doctor_names_an_address_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localhost:5000")
    problems = [finding.text for finding in environment(tmp_path) if finding.status == "problem"]
    assert [text for text in problems if "did you mean http://localhost:5000" in text]
