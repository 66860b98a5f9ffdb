"""MLflow's user interface as a server on this machine, without the parts that make it slow to start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptmodel.address import without_password
from gptmodel.errors import GptModelError
from gptmodel.tracking.mlflow_store import store_uri

HOST = "127.0.0.1"
STOP_SECONDS = 5.0


class UiServer:
    """The server of a project's runs; GptModelError where there is one already, or where the port is taken."""

    def __init__(self, root: Path, port: int) -> None:
        self._root, self._port = root.resolve(), port
        self._uri = store_uri(root)
        self.address = without_password(self._uri)
        if self._uri.startswith(("http://", "https://")):
            raise GptModelError(f"MLFLOW_TRACKING_URI names a server that is already running: open {self.address}")
        _check_free(port)

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the server while the block does; it answers some seconds later, see `page`."""
        process = subprocess.Popen(
            self._command(),
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it has children: Ctrl-C comes here, and all of them are stopped below
        )
        try:
            yield process
        finally:
            _stop(process)

    def page(self, process: "subprocess.Popen[bytes]") -> str:
        """Wait until the server answers, and return the address of the newest experiment's runs.

        The front page opens on another kind of work. GptModelError when the server ends instead.
        """
        self._wait_until_up(process)
        front = f"http://{HOST}:{self._port}"
        question = f"{front}/api/2.0/mlflow/experiments/search?max_results=100"
        try:
            with urllib.request.urlopen(question, timeout=10) as answer:
                numbers = [item["experiment_id"] for item in json.load(answer).get("experiments", [])]
        except (OSError, ValueError, LookupError):
            return front
        newest = max((number for number in numbers if number != "0"), key=int, default="0")
        return f"{front}/#/experiments/{newest}/runs?workflowType=machine_learning"

    def _command(self) -> list[str]:
        options = {
            "--backend-store-uri": self._uri,
            "--default-artifact-root": (self._root / "mlartifacts").as_uri(),
            "--host": HOST,
            "--port": str(self._port),
            "--workers": "1",
        }
        return [sys.executable, "-m", "mlflow", "ui", *(word for pair in options.items() for word in pair)]

    def _wait_until_up(self, process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self._port}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.3)
        raise GptModelError(
            f"mlflow ui ended with status {process.returncode}; `mlflow ui --port {self._port}` shows why"
        )


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise GptModelError(f"--port {port}: {error.strerror}; name another, such as --port {port + 1}") from None


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers: first kindly, then for sure."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            return
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
