"""`gptmodel ui`: a real server on this machine, which ends with the command and takes its children along."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow_server import free_port
from report_findings import findings
from tracking_helpers import REPOSITORY, client, finish_journal, new_key, python, start_journal, sync

from gptmodel.errors import ConfigError, GptModelError
from gptmodel.reporting.report import report
from gptmodel.tracking import stored_view
from gptmodel.tracking.ui_server import UiServer, _stop
from stages.sync import sync as send
from stages.ui import ui

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.parametrize("command", [ui, send])
def test_a_folder_that_is_no_project_gets_no_store(
    command: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs would seem to be lost there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"is no project and has no runs; run this in the project's folder$"):
        command()
    assert not list(tmp_path.iterdir())


def members(group: int) -> bool:
    """Whether anybody is left in a group of processes, be it one that has ended and nobody has asked after."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_group_of_which_all_have_ended_needs_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS says "not permitted" where nobody has asked after them yet."""

    def refuse(_group: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.killpg", refuse, raising=False)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        _stop(process)


def see_the_view(address: str, run_id: str, chromium: str) -> None:
    """The best run is in the first row, how good it is comes first, then the setting that differs; loss curves lead."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1800, "height": 900})
        page.goto(address)
        page.wait_for_selector(".ag-center-cols-container .ag-row[row-index='0']", timeout=60_000)
        columns = page.inner_text(".ag-header")
        assert "model.position" in columns
        assert "model.n_embd" not in columns
        left = 'cell => [cell.getBoundingClientRect().left, cell.getAttribute("col-id")]'
        cells = page.evaluate(f"[...document.querySelectorAll('.ag-header-cell[col-id]')].map({left})")
        order = [name for _, name in sorted(cells)]
        assert order[1] == stored_view.NAME_COLUMN
        assert order[-3:] == [stored_view.ORDER, "params.`model.position`", stored_view.LAST_COLUMN]
        first = page.locator(".ag-center-cols-container .ag-row[row-index='0']").first.inner_text()
        assert "rotary" in first
        page.goto(f"{page.url}&compareRunsMode=CHART")
        page.wait_for_function("document.body.innerText.includes('final')", timeout=60_000)
        lines = page.inner_text("body").splitlines()
        headings = ["val_loss", "train_loss", "learning_rate", "eval", "final"]
        assert [line for line in lines if line in headings] == headings
        see_the_report(page, f"{address.partition('?')[0]}/{run_id}/artifacts")
        browser.close()


def see_the_report(page: "Page", address: str) -> None:
    """Among the artifacts of a run, the report shows where it is clicked, as it looks by itself."""
    page.goto(address)
    page.get_by_text("reports", exact=True).first.click(timeout=60_000)
    page.get_by_text("report.html", exact=True).first.click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="A language model of").wait_for(timeout=60_000)
    width = frame.locator("html").evaluate("page => [page.scrollWidth, page.clientWidth]")
    assert width[0] <= width[1]
    assert frame.locator("body").evaluate("body => getComputedStyle(body).maxWidth") != "none"  # it has its style


@pytest.mark.thorough
def test_it_shows_the_runs_and_leaves_no_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a proxy is set, which knows nothing of the servers on this machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for loss, position in ((2.0, "learned"), (1.5, "rotary")):
        writer = start_journal(root, new_key())
        writer.params({"model.position": position, "model.n_embd": "8"})
        writer.metrics({"val_loss": 4.0, "train_loss": 4.0, "learning_rate": 0.1}, 0, 1)
        writer.metrics({"val_loss": loss, "train_loss": loss, "eval/val_loss": loss, "final/seconds": 1.0}, 9, 2)
        report_file = root / "report.html"
        report_file.write_text(report(findings()), encoding="utf-8")
        writer.file(report_file, "reports")
        finish_journal(writer)
    sync(root)
    server = UiServer(root, free_port())
    with server.running() as process:
        page = server.page(process)
        assert "/#/experiments/1/runs" in page
        assert "viewStateShareKey=gptmodel" in page
        assert "eval/val_loss" in client(root).get_experiment("1").tags[stored_view.TAG]
        monkeypatch.delenv("http_proxy")
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert b"MLflow" in answer.read()
        if chromium := shutil.which("chromium"):
            see_the_view(page, str(writer.journal.run()["run_id"]), chromium)
    end = time.monotonic() + 20
    while members(process.pid):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_server_that_runs_already_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@runs.example.org")
    with pytest.raises(GptModelError, match=r"open https://runs\.example\.org") as caught:
        UiServer(tmp_path, free_port())
    assert "secret" not in str(caught.value)


PARENT = """
import sys, time
from pathlib import Path
from gptmodel.tracking.ui_server import UiServer

class Small(UiServer):
    def _command(self):
        worker = f"import subprocess, sys; subprocess.run([sys.executable, '-m', 'http.server', '{self._port}'])"
        return [sys.executable, "-c", worker]

with Small(Path(sys.argv[1]), int(sys.argv[2])).running():
    print("running", flush=True)
    time.sleep(600)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(port: int, listening: bool) -> None:
    end = time.monotonic() + 30
    while listens(port) != listening:
        assert time.monotonic() < end, f"port {port} does{'' if listening else ' still'} listen"
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM], ids=lambda number: number.name)
def test_the_server_ends_with_the_command_however_that_ends(root: Path, number: signal.Signals) -> None:
    """A small server with a worker, as MLflow's is one."""
    port = free_port()
    process = python(PARENT, root, port)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    wait_until(port, listening=True)
    process.send_signal(number)
    process.wait()
    wait_until(port, listening=False)


def test_the_command_fails_when_the_server_ends_by_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.chdir(root)
    monkeypatch.setattr(UiServer, "_command", lambda _: [sys.executable, "-c", "raise SystemExit(3)"])
    monkeypatch.setattr(UiServer, "page", lambda *_: "the page, which was there for some time")
    with pytest.raises(GptModelError, match=f"mlflow ui ended with status 3; `mlflow ui --port {port}` shows why"):
        ui(port)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_the_server_ends_with_the_command_where_processes_have_no_groups(
    root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As on Windows: nothing here or in the guard can end a whole group."""
    (tmp_path / "sitecustomize.py").write_text("import os\ndel os.killpg\n")
    port = free_port()
    process = python(PARENT, root, port, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    wait_until(port, listening=True)
    process.send_signal(number)
    process.wait()
    wait_until(port, listening=False)


def test_a_damaged_database_is_told_before_a_server_is_started(root: Path) -> None:
    (root / "mlflow.db").write_text("no database, but long enough to be taken for one " * 9)
    with pytest.raises(GptModelError, match=r"mlflow\.db: file is not a database; `gptmodel doctor` says what to do"):
        UiServer(root, free_port())


def test_a_store_that_moved_is_shown_where_it_is(root: Path, tmp_path: Path) -> None:
    finish_journal(start_journal(root, new_key()))
    sync(root)
    moved = root.rename(tmp_path / "moved")
    UiServer(moved, free_port())
    location = client(moved).get_experiment_by_name("exp").artifact_location
    assert location == (moved / "mlartifacts").as_uri()
