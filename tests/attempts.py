"""Commands of the project as fresh processes that start in a tenth of a second, to be killed and hurt in many ways.

`import torch` takes seconds, so one process, `python tests/attempts.py`, has imported it and does nothing but fork:
each fork enters a project's folder and runs `gptmodel ARGUMENTS` as the installed command does. Before that it may be
told to hurt itself in a way of tests/injuries.py: the product has no hooks for tests.
"""

import functools
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PATIENCE = 120.0
IMPORTED = ["stages.cli", "stages.judgement", "stages.tracked", "injuries"]
IMPORTED += ["gptmodel.training.loop", "gptmodel.training.run", "gptmodel.tracking.mlflow_tracker"]
IMPORTED += ["gptmodel.evaluation.plots", "gptmodel.sampling.generate", "gptmodel.reporting.report"]
IMPORTED += ["gptmodel.planning.plan", "gptmodel.proof.verification", "gptmodel.doctor.examination"]
IMPORTED += ["gptmodel.tuning.study", "optuna.storages._rdb.models"]
"""What commands import, which each fork has from the start."""


@dataclass
class Attempt:
    """A command that runs or has run."""

    server: "Server"
    pid: int
    folder: Path
    status: int | None = None
    """As `subprocess` counts: negative for a signal."""
    seconds: float = 0.0
    output: str = ""
    error: str = ""

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the end and return the status."""
        end = time.monotonic() + patience
        while self.status is None:
            if time.monotonic() > end:
                self.signal(signal.SIGKILL)
                raise AssertionError(f"still running after {patience:.0f} s: {self.said('stderr')}")
            self.server.listen(0.5)
        return self.status

    def signal(self, number: int, after: float = 0.0) -> None:
        """Have a signal sent, after some seconds of the command's life; nothing happens when it has ended by then."""
        self.server.say({"signal": number, "pid": self.pid, "after": after})

    def listen(self, seconds: float) -> None:
        """Give its end some time to be heard of."""
        self.server.listen(seconds)

    def said(self, stream: str) -> str:
        """Return what was written so far to stdout or stderr."""
        return (self.folder / f"{stream}.txt").read_text(encoding="utf-8")

    def ended(self, status: int, seconds: float) -> None:
        """Keep what there is to know at the end."""
        self.status, self.seconds = status, seconds
        self.output, self.error = self.said("stdout"), self.said("stderr")

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Server:
    """The process that forks, as its user sees it."""

    def __init__(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
        paths = [str(ROOT), str(TESTS)]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            env=environment | {"PYTHONPATH": os.pathsep.join(paths), "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.attempts: dict[int, Attempt] = {}  # by their pids, until they end
        self.begun: dict[int, Attempt] = {}  # by their numbers, until `start` takes them up
        self.pending = b""
        self.count = 0

    def start(self, folder: Path, arguments: list[str], injuries: Mapping[str, Any], **environment: str) -> Attempt:
        """Start `gptmodel ARGUMENTS` in a folder; what it says goes to files beside that folder."""
        self.count += 1
        said = folder.parent / f"{folder.name}-said"
        said.mkdir(exist_ok=True)
        # a folder that was made once is used by several processes at a time, each with a count of its own
        beside = Path(tempfile.mkdtemp(prefix=f"{self.count}-", dir=said))
        for stream in ("stdout", "stderr"):
            (beside / f"{stream}.txt").touch()
        self.say(
            {
                "number": self.count,
                "folder": str(folder),
                "beside": str(beside),
                "arguments": arguments,
                "injuries": injuries,
                "environment": environment,
            }
        )
        end = time.monotonic() + PATIENCE
        while self.count not in self.begun:
            assert time.monotonic() < end, "the process that forks does not answer"
            self.listen(1.0)
        return self.begun.pop(self.count)

    def say(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def listen(self, seconds: float) -> None:
        """Hear of starts and ends."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return
        if not (heard := os.read(descriptor, 1 << 16)):
            raise AssertionError("the process that forks has ended")
        *lines, self.pending = (self.pending + heard).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "started" in message:
                attempt = Attempt(self, message["started"], Path(message["beside"]))
                self.attempts[attempt.pid] = self.begun[message["number"]] = attempt
            else:
                self.attempts.pop(message["pid"]).ended(message["status"], message["seconds"])


@functools.cache
def server() -> Server:
    """The one process that forks; it ends when this one does."""
    return Server()


# What follows runs in the process that forks, and in its forks.


def _import() -> None:
    """Import what the forks need; they copy nothing of it, as they never look for garbage there."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert "mlflow" not in sys.modules
    gc.freeze()


def _serve() -> None:
    born: dict[int, float] = {}
    due: list[tuple[float, int, int]] = []
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.002 if born else None)
        now = time.monotonic()
        for when, pid, number in [entry for entry in due if entry[0] <= now]:
            due.remove((when, pid, number))
            if pid in born:  # not reaped, so the number is still its own
                os.kill(pid, number)
        for pid in [*born]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                _tell({"pid": pid, "status": code, "seconds": time.monotonic() - born.pop(pid)})
        if not ready:
            continue
        if not (heard := os.read(0, 1 << 16)):
            for pid in born:
                os.kill(pid, signal.SIGKILL)
            return
        *lines, pending = (pending + heard).split(b"\n")
        for message in map(json.loads, lines):
            if "signal" in message:
                due.append((born.get(message["pid"], 0.0) + message["after"], message["pid"], message["signal"]))
            elif pid := os.fork():
                born[pid] = time.monotonic()
                _tell({"started": pid, "number": message["number"], "beside": message["beside"]})
            else:
                _become(message)


def _tell(message: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _become(message: Mapping[str, Any]) -> None:
    """Turn this fork into the command, and never return."""
    status: object = 1
    try:
        beside = Path(message["beside"])
        for descriptor, path, flags in (
            (0, Path(os.devnull), os.O_RDONLY),
            (1, beside / "stdout.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, beside / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            opened = os.open(path, flags, 0o666)
            os.dup2(opened, descriptor)
            os.close(opened)
        os.chdir(message["folder"])
        os.environ.update(message["environment"])
        sys.argv = ["gptmodel", *message["arguments"]]
        injuries = importlib.import_module("injuries")
        for name, values in message["injuries"].items():
            getattr(injuries, name)(**values)
        importlib.import_module("stages.cli").run()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.setprofile(None)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    _import()
    _serve()
