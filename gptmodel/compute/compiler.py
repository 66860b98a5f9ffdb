"""The C++ compiler that torch compiles with, if this machine has one."""

import logging
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gptmodel.config import Params
from gptmodel.errors import ConfigError

# one C++ file forward and one backward, called without Python between the operations, made by no further processes
OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {"cpp_wrapper": True, "compile_threads": 1}


def find_compiler(params: Params, device: torch.device) -> tuple[str, str]:
    """Return what the C++ compiler that torch finds says of itself, or else why nothing can be compiled.

    Both are empty where nothing is to be compiled. The compiler is tried out on a function of one operation. Raises
    ConfigError for dropout, whose random numbers come from a generator of its own.
    """
    if not params.train.compile:
        return "", ""
    if params.model.dropout:
        raise ConfigError(
            f"train.compile = true: needs model.dropout = 0, but it is {params.model.dropout}; change one of them"
        )
    if device.type != "cpu":
        return "", "only a training on a CPU is compiled"
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        version = subprocess.run([get_cpp_compiler(), "--version"], capture_output=True, text=True, check=True).stdout
        x = torch.ones(1)
        with quiet():
            torch.compile(torch.neg, fullgraph=True, options=OPTIONS)(x)
    except Exception as error:  # whatever goes wrong in a compiler, a training does without it
        return "", f"torch cannot compile here ({first_line(error)}); it needs a C++ compiler, such as g++"
    return version.partition("\n")[0], ""


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
