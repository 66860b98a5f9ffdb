"""`gptmodel ui`: a real server on this machine, which ends with the command and takes its children along."""

import os
import urllib.request
from pathlib import Path

import pytest
from mlflow_server import free_port
from tracking_helpers import finish_journal, new_key, start_journal, sync

from gptmodel.errors import GptModelError
from gptmodel.tracking.ui_server import UiServer


@pytest.mark.thorough
def test_it_shows_the_runs_and_leaves_no_process(root: Path) -> None:
    finish_journal(start_journal(root, new_key()))
    sync(root)
    server = UiServer(root, free_port())
    with server.running() as process:
        page = server.page(process)
        assert "/#/experiments/1/runs" in page
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert b"MLflow" in answer.read()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_server_that_runs_already_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@runs.example.org")
    with pytest.raises(GptModelError, match=r"open https://runs\.example\.org") as caught:
        UiServer(tmp_path, free_port())
    assert "secret" not in str(caught.value)
