"""The compiler that torch compiles with, if this machine has one: a C++ compiler or, for a GPU, Triton."""

import hashlib
import importlib.metadata
import logging
import os
import platform
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gptmodel.config import Params
from gptmodel.errors import ConfigError
from gptmodel.files import user_cache

# one C++ file forward and one backward, called without Python between the operations, made by no further processes;
# no headers compiled in advance, which torch keeps in the temporary folder whatever `use_private_cache` says
OPTIONS: dict[str, dict[str, str | int | bool | Callable[..., object]]] = {
    "cpu": {"cpp_wrapper": True, "compile_threads": 1, "cpp_cache_precompile_headers": False},
    "cuda": {"triton.cudagraphs": False},  # the whole iteration is one, if any
}
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
WITHOUT = {  # variables of the environment under which nothing is compiled, and why
    "TORCHDYNAMO_DISABLE=1": "turns torch's compiler off",
    "TORCH_COMPILE_DISABLE=1": "turns torch's compiler off",
    "OMP_DYNAMIC=true": "leaves open how many threads compute compiled code, and so its bytes",
}
SET_HERE = {"base_dir", "debug_dir_root", "deterministic"}
"""Settings of the compiler that say nothing of another machine: folders, and what every training sets."""


def find_compiler(params: Params, device: torch.device) -> tuple[str, str]:
    """Return what decides the compiled code, or else why nothing can be compiled.

    The former is what the compiler that torch finds, a C++ compiler or Triton on a GPU, says of itself, and a digest of
    torch's settings of it, which variables of the environment may change. Both are empty where nothing is to be
    compiled. The compiler is tried out on a function of one operation. Raises ConfigError where `use_private_cache`
    does.
    """
    if not params.train.compile:
        return "", ""
    if device.type not in OPTIONS:
        return "", f"torch does not compile for {device.type}"
    for setting, reason in WITHOUT.items():
        name, _, value = setting.partition("=")
        if os.environ.get(name, "").strip().lower() == value:
            return "", f"{setting} in the environment {reason}"
    use_private_cache()
    try:
        version = _version(device)
        x = torch.ones(1, device=device)
        with quiet():
            torch.compile(torch.neg, fullgraph=True, options=OPTIONS[device.type])(x)
    except Exception as error:  # whatever goes wrong in a compiler, a training does without it
        needed = "a C++ compiler, such as g++" if device.type == "cpu" else "Triton, and a C compiler, such as gcc"
        return "", f"torch cannot compile here ({first_line(error)}); it needs {needed}"
    return f"{version}, settings {_settings()}", ""


def _version(device: torch.device) -> str:
    if device.type == "cuda":
        return f"Triton {importlib.metadata.version('triton')}"
    from torch._inductor.cpp_builder import get_cpp_compiler

    version = subprocess.run([get_cpp_compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    return version.partition("\n")[0]


def _settings() -> str:
    """Return a digest of all settings of torch's compiler: those that are the same on every machine, unless changed."""
    from torch._dynamo import config as dynamo
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    values = [
        (config.__name__, name, sorted(map(str, value)) if isinstance(value, (set, frozenset)) else value)
        for config in (dynamo, functorch, inductor)
        for name, value in sorted(config.save_config_portable().items())
        if name not in SET_HERE
    ]
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def use_private_cache() -> None:
    """Let torch keep what it compiles in a folder of the user's own, unless one is named; before inductor is imported.

    Torch runs what lies in its cache, and its own choice is a folder of a guessable name in the temporary folder, where
    whoever comes first makes it. Raises ConfigError where somebody else could write to ours.
    """
    named, shared = os.environ.get(CACHE_VARIABLE), str(Path(tempfile.gettempdir(), "torchinductor_"))
    if named and not named.startswith(shared):  # what starts so is torch's own choice, set by an import
        return
    if os.name != "posix":  # the temporary folder of Windows is the user's own
        return
    asked, mend = "train.compile = true", f"set {CACHE_VARIABLE} to a folder of your own"
    try:
        folder = user_cache()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if writers := _other_writers(folder):
            raise ConfigError(f"{asked}: {folder} cannot hold what is compiled: {writers}; {mend}")
        folder.chmod(0o700)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise ConfigError(
            f"train.compile = true: no folder for what is compiled can be made: {error}; {mend}"
        ) from None
    os.environ[CACHE_VARIABLE] = str(folder / "torchinductor" / _instructions())


def _instructions() -> str:
    """Return a name for the instructions that code is compiled for.

    torch's cache does not tell them apart: code made for vectors of one length, compiled for those of another, writes
    over memory. They differ where a home is shared by several machines, or by the environment's ATEN_CPU_CAPABILITY.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    known = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{capability}-{hashlib.sha256(known.encode()).hexdigest()[:12]}".lower()


def _other_writers(folder: Path) -> str:
    """Return who but this user and root could put a file into a folder or another in its place, or nothing."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is a link"
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    for parent in folder.resolve().parents:
        status = parent.stat()
        if status.st_uid not in (0, os.geteuid()):
            return f"{parent} belongs to another user"
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"others may write to {parent}"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's notes on how it compiles to itself."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def first_line(error: Exception) -> str:
    """Return the line of an error that says what is wrong: a compiler's has many."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if "error:" in line), lines[0]).strip()
