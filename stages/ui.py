"""Show the project's runs in the browser: `mlflow ui`, without the parts that make it slow to start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from gptmodel.errors import GptModelError
from gptmodel.project.layout import project_root
from stages.command import note

HOST = "127.0.0.1"
STOP_SECONDS = 5.0

PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")]


def ui(port: PortOption = 5000) -> None:
    """Show the runs in the browser, until Ctrl-C."""
    from gptmodel.tracking.mlflow_tracker import store_uri, without_password

    root = project_root()
    uri = store_uri(root)
    if uri.startswith(("http://", "https://")):
        raise GptModelError(f"MLFLOW_TRACKING_URI names a server that runs already: open {without_password(uri)}")
    _check_free(port)
    note(f"starting mlflow ui for {without_password(uri)}; it takes about 15 seconds")
    process = subprocess.Popen(
        _command(root, uri, port),
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it has children: Ctrl-C comes here, and all of them are stopped below
    )
    try:
        _wait_until_up(process, port)
        typer.echo(f"open {_runs_page(port)} (Ctrl-C stops it)")
        process.wait()
    except KeyboardInterrupt:
        note("stopped")
    finally:
        _stop(process)


def _command(root: Path, uri: str, port: int) -> list[str]:
    options = {
        "--backend-store-uri": uri,
        "--default-artifact-root": (root.resolve() / "mlartifacts").as_uri(),
        "--host": HOST,
        "--port": str(port),
        "--workers": "1",
    }
    return [sys.executable, "-m", "mlflow", "ui", *(word for pair in options.items() for word in pair)]


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise GptModelError(f"--port {port}: {error.strerror}; name another, such as --port {port + 1}") from None


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise GptModelError(f"mlflow ui ended with status {process.returncode}; `mlflow ui --port {port}` shows why")


def _runs_page(port: int) -> str:
    """Return the address of the newest experiment's runs: the front page opens on another kind of work."""
    front = f"http://{HOST}:{port}"
    try:
        with urllib.request.urlopen(f"{front}/api/2.0/mlflow/experiments/search?max_results=100", timeout=10) as answer:
            found = [item["experiment_id"] for item in json.load(answer).get("experiments", [])]
    except (OSError, ValueError, LookupError):
        return front
    newest = max((number for number in found if number != "0"), key=int, default="0")
    return f"{front}/#/experiments/{newest}/runs?workflowType=machine_learning"


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
