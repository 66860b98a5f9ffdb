"""What a test does to a command from inside its process: kill it at a chosen moment, take away disk or memory, ...

Moments are counted in calls, Python's and C's, as `sys.setprofile` sees them: "in the 2nd call of `save`, after 17 more
calls" of its thread. So each of them can be hit, between any two system calls, and hit again with the same numbers.
"""

import ctypes
import importlib
import itertools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


def kill_inside(place: str, call: int, after: int, number: int = signal.SIGKILL) -> None:
    """Send this process a signal in the `call`-th call (from 1) of a function, after so many calls it makes in turn."""
    _in_call(place, call, after, lambda: os.kill(os.getpid(), number))


def count_calls(places: list[str], report: str) -> None:
    """Write down how often each function is called, and how many calls it makes in turn, at least."""
    codes = {_code(place): place for place in places}
    counts: dict[str, list[int]] = {place: [0, 1 << 30] for place in places}
    stacks: dict[int, list[list[Any]]] = defaultdict(list)
    lock = threading.Lock()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        stack = stacks[threading.get_ident()]
        for entry in stack:
            entry[1] += 1
        place = codes.get(frame.f_code)
        if place and event == "call":
            stack.append([frame, 0])
        elif place and event == "return" and stack and stack[-1][0] is frame:
            calls_within = stack.pop()[1]
            with lock:
                counts[place] = [counts[place][0] + 1, min(counts[place][1], calls_within)]
                Path(report).write_text(json.dumps(counts), encoding="utf-8")

    _profile_all_threads(profile)


def kill_in_file(name: str, call: int) -> None:
    """Kill this process when half of a file's content is on the disk, at the `call`-th file of that name."""
    count = 0
    open_path: Any = Path.open

    class HalfWriter:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __enter__(self) -> "HalfWriter":
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def fileno(self) -> int:
            return int(self.stream.fileno())

        def write(self, content: bytes) -> None:
            self.stream.write(content[: len(content) // 2])
            self.stream.flush()
            os.fsync(self.stream.fileno())
            os.kill(os.getpid(), signal.SIGKILL)

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        nonlocal count
        stream = open_path(path, mode, *arguments, **options)
        if mode != "x+b" or not path.name.startswith(f".{name}"):
            return stream
        count += 1
        return HalfWriter(stream) if count == call else stream

    Path.open = opened  # type: ignore[method-assign,assignment]


def kill_in_line(call: int) -> None:
    """Kill this process when half of a line is in its tracking journal, at the `call`-th line."""
    count = 0
    write = os.write

    def write_line(descriptor: int, content: bytes) -> int:
        nonlocal count
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "events.jsonl":
            count += 1
            if count == call:
                write(descriptor, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, content)

    os.write = write_line


def record_frames(report: str) -> None:
    """Write down the project's functions under way at each line of the tracking journal, innermost last."""
    write = os.write

    def write_line(descriptor: int, content: bytes) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "events.jsonl":
            _report_frames(sys._getframe(1), report)
        return write(descriptor, content)

    os.write = write_line


def record_frames_of(place: str, report: str) -> None:
    """Write down the project's functions under way at each call of a function, innermost last."""
    code = _code(place)

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is code:
            _report_frames(frame, report)

    _profile_all_threads(profile)


def _report_frames(innermost: FrameType, report: str) -> None:
    names: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None:
        module = frame.f_globals["__name__"]
        if module.partition(".")[0] in ("gptmodel", "stages"):
            names.insert(0, f"{module}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    with Path(report).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(names) + "\n")


def journal_only() -> None:
    """Track into the journal, and let nobody send it: the helper process needs seconds to import MLflow."""
    tracker: Any = importlib.import_module("gptmodel.tracking.mlflow_tracker")

    class NoSender:
        failure, refused = None, ()

        def __init__(self, *_: object, **__: object) -> None: ...
        def wake(self) -> None: ...
        def wait_for_run(self, seconds: float) -> None: ...
        def finish(self) -> None: ...

    tracker.Sender = NoSender


def quick_heartbeats(every: float, grace: int) -> None:
    """Let the worker of a study say more often that it lives, and others wait less long for that; in seconds."""
    for name in ("storage", "worker"):
        module: Any = importlib.import_module(f"gptmodel.tuning.{name}")
        module.HEARTBEAT_SECONDS = every
    importlib.import_module("gptmodel.tuning.storage").GRACE_SECONDS = grace  # type: ignore[attr-defined]


def limit_files(size: int) -> None:
    """Let no file grow beyond a size: writing fails, as it does on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def limit_memory_inside(place: str, call: int, more: int) -> None:
    """From the `call`-th call of a function on, let this process have only so many bytes more than it uses."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        malloc = ctypes.CDLL(None).malloc
        malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        while malloc(1 << 17):  # what was freed and kept for later would be enough to go on
            pass
        resource.setrlimit(resource.RLIMIT_AS, (most + more, most + more))

    _in_call(place, call, 0, limit)


def replace_inside(place: str, call: int, path: str, by: str) -> None:
    """Put another file in the place of one, in the `call`-th call of a function."""
    _in_call(place, call, 0, lambda: Path(by).replace(path))


def wait_inside(place: str, call: int, mark: str) -> None:
    """Write a file in the `call`-th call of a function, and go on when it is gone."""

    def wait() -> None:
        Path(mark).touch()
        while Path(mark).exists():
            time.sleep(0.005)

    _in_call(place, call, 0, wait)


def use_terminal(path: str) -> None:
    """Let this process read from a terminal and write to it, with streams that know it for one."""
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    for descriptor in range(3):
        os.dup2(terminal, descriptor)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115


def call_debugger(call: int) -> None:
    """Have the `call`-th iteration (from 1) of this process begin with a `breakpoint()`."""
    from gptmodel.training import loop

    step, numbers = loop.training_step, itertools.count(1)

    def stopping(*arguments: Any) -> float:
        if next(numbers) == call:
            breakpoint()
        return step(*arguments)

    loop.training_step = stopping


def ignore_hangups() -> None:
    """Let this process be as `nohup` starts one."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def lose_output(how: str) -> None:
    """Let stdout be a full disk, or a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(os.open("/dev/full", os.O_WRONLY) if how == "full" else writer, 1)


def clock_runs_back() -> None:
    """Let the time of day go back an hour each time it is asked."""
    now = time.time()

    def earlier() -> float:
        nonlocal now
        now -= 3600.0
        return now

    time.time = earlier
    time.time_ns = lambda: int(earlier() * 1e9)


def _in_call(place: str, call: int, after: int, do: Callable[[], None]) -> None:
    code = _code(place)
    calls, events, inside, thread, finished = 0, 0, None, 0, False

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls, events, inside, thread, finished
        if inside is None:
            if event != "call" or frame.f_code is not code:
                return
            calls += 1
            if calls < call:
                return
            inside, thread = frame, threading.get_ident()
        if finished or thread != threading.get_ident():
            return
        events += 1
        if events > after or (event == "return" and frame is inside):
            finished = True
            sys.setprofile(None)
            do()

    _profile_all_threads(profile)


def _profile_all_threads(profile: Callable[[FrameType, str, object], None]) -> None:
    """Let a function see the calls of this thread and of those it will start: an evaluation may have one of its own."""
    threading.setprofile(profile)
    sys.setprofile(profile)


def _code(place: str) -> CodeType:
    module, _, name = place.partition(":")
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    code: CodeType = function.__code__
    return code
