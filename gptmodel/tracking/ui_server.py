"""MLflow's user interface as a server on this machine, without the parts that make it slow to start.

Between this process and the server stands a guard, `python -m gptmodel.tracking.ui_server COMMAND`. It holds a pipe to
this process, and when that closes, however this process ended, it ends the server and frees the port.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil  # type: ignore[import-untyped]

from gptmodel.errors import GptModelError
from gptmodel.port import HOST, listening
from gptmodel.tracking import stored_view
from gptmodel.tracking.addresses import check_address
from gptmodel.tracking.database import artifacts_folder, database_file, is_empty, settle, store_address, store_uri
from gptmodel.tracking.helper import start
from gptmodel.tracking.servers import is_web, read_directly

PROGRAM = "gptmodel.tracking.ui_server"
STOP_SECONDS = 2.0
ANSWER_SECONDS = 10.0
MOST_RUNS = 1000
"""Of which the columns are made."""


class UiServer:
    """The server of a project's runs; GptModelError where there is one already, or where the port is taken."""

    def __init__(self, root: Path, port: int) -> None:
        self._root, self._port = root.resolve(), port
        self._uri = store_uri(root)
        self.address = store_address(root)
        check_address(self._uri)
        if is_web(self._uri):
            raise GptModelError(f"MLFLOW_TRACKING_URI names a server that is already running: open {self.address}")
        listening(port).close()
        self._prepare_database()

    def _prepare_database(self) -> None:
        """Make the database where there is none, and let the artifacts lie where the project is now."""
        database = database_file(self._uri)
        if database is None:
            return
        try:
            if is_empty(database):  # the server would leave half of one if it were killed now
                from gptmodel.tracking.mlflow_store import MlflowStore

                MlflowStore(self._root).connect(lambda *_: None)
            settle(database, self._root)
        except sqlite3.Error as error:
            raise GptModelError(f"{self.address}: {error}; `gptmodel doctor` says what to do") from None

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the server while the block does; it answers some seconds later, see `page`."""
        settings = {
            "MLFLOW_BACKEND_STORE_URI": self._uri,  # it may hold a password, and all users can read command lines
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        nowhere = subprocess.DEVNULL
        process = start(PROGRAM, self._command(), self._root, settings, stdout=nowhere, stderr=nowhere)
        try:
            yield process
        finally:
            _stop(process)

    def page(self, process: "subprocess.Popen[bytes]") -> str:
        """Wait until the server answers, and return the address of the newest experiment's runs, in our view of them.

        The front page opens on another kind of work. GptModelError when the server ends instead.
        """
        self._wait_until_up(process)
        front = f"http://{HOST}:{self._port}"
        try:
            experiments = self._ask("experiments/search?max_results=100").get("experiments", [])
            newest = max((item["experiment_id"] for item in experiments if item["experiment_id"] != "0"), key=int)
            question = {"experiment_ids": [newest], "max_results": MOST_RUNS}
            view = stored_view.view(self._ask("runs/search", question).get("runs", []))
            tag = {"experiment_id": newest, "key": stored_view.TAG, "value": view}
            self._ask("experiments/set-experiment-tag", tag)
        except (OSError, ValueError, LookupError):  # no experiment yet, or a server of another kind
            return front
        return stored_view.address(front, newest)

    def wait(self, process: "subprocess.Popen[bytes]") -> NoReturn:
        """Wait as long as the server runs; GptModelError when it ends by itself."""
        process.wait()
        raise self._ended(process)

    def _ask(self, question: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"http://{HOST}:{self._port}/api/2.0/mlflow/{question}"
        answer: dict[str, Any] = json.loads(read_directly(url, ANSWER_SECONDS, content))
        return answer

    def _command(self) -> list[str]:
        options = {
            "--default-artifact-root": artifacts_folder(self._root).as_uri(),
            "--host": HOST,
            "--port": str(self._port),
            "--workers": "1",
        }
        return [sys.executable, "-m", "mlflow", "ui", *(word for pair in options.items() for word in pair)]

    def _wait_until_up(self, process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None:
            try:
                read_directly(f"http://{HOST}:{self._port}/health", seconds=2.0)
            except OSError:
                time.sleep(0.3)
            else:
                return
        raise self._ended(process)

    def _ended(self, process: "subprocess.Popen[bytes]") -> GptModelError:
        return GptModelError(
            f"mlflow ui ended with status {process.returncode}; `mlflow ui --port {self._port}` shows why"
        )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers: first kindly, then for sure."""
    for for_sure in (False, True):
        try:
            _end(process.pid, for_sure=for_sure)
        except (ProcessLookupError, PermissionError):  # macOS refuses where all have ended and wait to be asked after
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def _end(leader: int, *, for_sure: bool) -> None:
    """Ask the group of a process to end, or end it; all that the process started, where there are no groups."""
    if hasattr(os, "killpg"):
        os.killpg(leader, signal.SIGKILL if for_sure else signal.SIGTERM)
        return
    with suppress(psutil.NoSuchProcess):  # Windows
        # the server last: when it is gone the guard ends, which may be what does this
        for process in reversed(psutil.Process(leader or None).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _guard(command: list[str]) -> None:
    """Run the server, a member of this process's group, and end the group when standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is for the group, and this process is the last to go
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    gone = threading.Event()

    def watch() -> None:
        os.read(0, 1)
        gone.set()
        for for_sure in (False, True):
            _end(0, for_sure=for_sure)
            time.sleep(STOP_SECONDS)

    threading.Thread(target=watch, daemon=True).start()
    status = server.wait()
    if gone.is_set():
        _end(0, for_sure=True)  # its workers may be left
    sys.exit(status)


if __name__ == "__main__":
    _guard(sys.argv[1:])
