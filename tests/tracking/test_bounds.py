"""`gptmodel sync` against servers that are none: bounded in time and memory, and quiet about a proxy."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow_server import free_port
from tracking_helpers import ENVIRONMENT, finish_journal, new_key, python, start_journal

from gptmodel.tracking.helper import Helper
from gptmodel.tracking.journal import Journal
from gptmodel.tracking.servers import pass_proxy_by
from gptmodel.tracking.sync import UnsentError, sync

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000000\r\n\r\n"


@contextmanager
def endless_server(piece: bytes, pause: float) -> Iterator[str]:
    """A server whose every answer goes on for ever."""
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                connection.sendall(HEAD)
                while not ended.is_set():
                    connection.sendall(piece)
                    time.sleep(pause)
            except OSError:  # whoever asked has gone
                return

    def serve(server: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()


@pytest.fixture
def journal(root: Path) -> Journal:
    writer = start_journal(root, new_key())
    finish_journal(writer)
    return writer.journal


@pytest.mark.thorough
def test_a_server_that_drips(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    with endless_server(b" ", 0.2) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        start = time.monotonic()
        with pytest.raises(UnsentError, match="it did not answer in time while opening the store"):
            list(sync(journal.root))
        assert time.monotonic() - start < 40
    assert journal.pending


PEAK = """
import resource, sys
from pathlib import Path
from gptmodel.tracking.sync import UnsentError, sync

try:
    list(sync(Path(sys.argv[1])))
except UnsentError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)  # kB
"""


@pytest.mark.thorough
def test_a_server_that_sends_without_end(journal: Journal) -> None:
    """In a process of its own: in this one, what other tests started would count too."""
    with endless_server(b" " * (1 << 20), 0.0) as uri:
        said = python(PEAK, journal.root, MLFLOW_TRACKING_URI=uri).communicate(timeout=120)[0]
    *error, peak = said.splitlines()
    assert re.search(r"more memory than there is for it|did not answer in time", "\n".join(error))
    assert 50_000 < int(peak) < 1_500_000
    assert journal.pending


def test_a_helper_process_gets_no_more_memory_than_it_needs() -> None:
    code = "from gptmodel.tracking.helper import Caller; Caller(); bytearray(MEGABYTES << 20); print('had it')"
    for megabytes, outcome in ((500, "had it"), (1100, "MemoryError")):
        command = [sys.executable, "-c", code.replace("MEGABYTES", str(megabytes))]
        result = subprocess.run(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert outcome in result.stderr  # where its standard output goes, too


def test_a_system_that_refuses_the_limit_of_memory_is_sent_from_all_the_same() -> None:
    """As macOS does, where a process has hundreds of gigabytes of addresses from its start."""
    refuse = "def refuse(*_): raise ValueError('current limit exceeds maximum limit')"
    code = f"import resource\n{refuse}\nresource.setrlimit = refuse\n"
    code += "from gptmodel.tracking.helper import Caller\nCaller().tell(last=True)\n"
    result = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (result.stdout, result.stderr) == (b'{"last": true}\n', b"")


def test_a_helper_process_that_is_ended_leaves_no_pipe_open(tmp_path: Path) -> None:
    """Python 3.13 tells of a word that nobody read when it closes the pipe by itself."""
    with (tmp_path / "log").open("wb") as log:
        helper = Helper("no_such_program", [], tmp_path, log, lambda _message: None)
    assert helper.wait(60) is None
    assert helper.died
    helper.say("close")
    helper.kill()
    pipes = helper._process.stdin, helper._process.stdout
    assert all(pipe is not None and pipe.closed for pipe in pipes)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count otherwise")
@pytest.mark.parametrize(("limit", "megabytes"), [("DATA", 60), ("DATA", 100), ("DATA", 200), ("AS", 400)])
def test_too_little_memory_for_the_libraries_is_one_line(journal: Journal, limit: str, megabytes: int) -> None:
    """Wherever it runs out: while they are imported, in C, in Python, or when the store is made."""
    code = (
        "import resource, sys; from pathlib import Path; from gptmodel.tracking.sync import UnsentError, sync\n"
        f"resource.setrlimit(resource.RLIMIT_{limit}, ({megabytes} << 20,) * 2)\n"
        "try: list(sync(Path(sys.argv[1])))\n"
        "except UnsentError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(journal.root)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert ": its libraries need up to 500 MB of memory, and `ulimit -" in result.stdout
    assert "; allow this command more" in result.stdout
    assert result.stdout.count("\n") == 1
    assert journal.pending


@pytest.mark.thorough
def test_a_server_on_this_machine_is_asked_without_a_proxy(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        with pytest.raises(UnsentError, match="Connection refused"):
            list(sync(journal.root))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"no_proxy": "127.0.0.1,::1,localhost"}),
        ({"NO_PROXY": "example.org"}, {"NO_PROXY": "example.org,127.0.0.1,::1,localhost"}),
        ({"no_proxy": "localhost", "NO_PROXY": "*"}, {"no_proxy": "localhost,127.0.0.1,::1", "NO_PROXY": "*"}),
    ],
    ids=str,
)
def test_what_passes_no_proxy(monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str]) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    pass_proxy_by("https://user:secret@runs.example.org/path")
    assert {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ} == after
