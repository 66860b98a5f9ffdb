"""Compiled trainings: the blocks in machine code made by `torch.compile`, where this machine can make it.

What is compiled is the way from the first block to the logits, forward and backward: embeddings with sparse gradients
and the loss stay as they are, and so does every evaluation.
"""

import logging
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gptmodel.config import Params
from gptmodel.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from gptmodel.nn.transformer import TransformerModel

# one C++ file forward and one backward, called without Python between the operations, made by no further processes
OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {"cpp_wrapper": True, "compile_threads": 1}


def find_compiler(params: Params, device: torch.device) -> tuple[str, str]:
    """Return what the C++ compiler that torch finds says of itself, or else why nothing can be compiled.

    Both are empty where nothing is to be. The compiler is tried out on a function of one operation. Raises ConfigError
    for dropout, whose random numbers come from a generator of its own.
    """
    if not params.train.compile:
        return "", ""
    if params.model.dropout:
        raise ConfigError(
            f"train.compile = true: model.dropout = {params.model.dropout} cannot be compiled; set it to 0"
        )
    if device.type != "cpu":
        return "", "only a training on a CPU is compiled"
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        said = subprocess.run([get_cpp_compiler(), "--version"], capture_output=True, text=True, check=True).stdout
        x = torch.ones(1)
        with _quiet():
            torch.compile(torch.neg, fullgraph=True, options=OPTIONS)(x)
    except Exception as error:  # whatever goes wrong in a compiler, a training does without it
        return "", f"torch cannot compile here ({_first_line(error)}); it needs a C++ compiler, such as g++"
    return said.partition("\n")[0], ""


def compiled(
    model: "TransformerModel", params: Params, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return the model in training mode as a function from idx (B, T) to logits (B, T, V), compiled now.

    Raises TrainingError when the compiler that was found fails. The weights stay those of the model.
    """
    logits = torch.compile(type(model).logits, fullgraph=True, dynamic=False, options=OPTIONS)

    def forward(idx: Tensor) -> Tensor:
        found: Tensor = logits(model, model.embed(idx))
        return found

    shape = (params.train.batch_size, params.model.block_size, params.model.n_embd)
    x = torch.zeros(shape, device=device, requires_grad=True)  # (B, T, C)
    try:
        with _quiet():
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                first = logits(model, x)  # (B, T, V)
            torch.autograd.grad(first.sum(), x)
    except Exception as error:
        raise TrainingError(f"the model does not compile ({_first_line(error)}); set train.compile to false") from error
    return forward


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's notes on how it compiles to itself."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    """Return the line of an error that says what is wrong: a compiler's has many."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if "error:" in line), lines[0]).strip()
