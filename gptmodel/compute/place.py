"""Where a stage computes: device, dtype, threads, and the fingerprint of all that decides the bytes there."""

import ctypes
import hashlib
import os
import sys
from functools import partial

import torch

from gptmodel.compute.crew import ALONE, Crew
from gptmodel.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def pick_device(name: str, key: str) -> torch.device:
    """Turn auto, cpu, cuda or mps into a device that is there; `key` names the setting in the error."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there[name]:
        raise ConfigError(f"{key} = {name}: this machine has none that torch can use; set {key} to auto or cpu")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn auto or a name into the dtype of the forward pass: float32 but on cuda, where bfloat16 or float16 pay."""
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if name == "float16" and device.type == "cpu":
        raise ConfigError("train.dtype = float16: needs device cuda; on cpu use float32 or bfloat16")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def use_threads(threads: int) -> None:
    """Make torch compute with a fixed number of threads, by deterministic algorithms only, and keep freed memory."""
    _keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before its first use
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # what use_deterministic_algorithms does, without importing inductor
    # new memory need not be filled to be deterministic where every element is written, as it is here
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def crew_of(threads: int, device: torch.device, *, whole: bool = False) -> Crew:
    """Return `threads` threads that compute on a CPU with one torch thread each; elsewhere the device does the work.

    `whole` returns one that computes with as many torch threads, which is the faster way for compiled code.
    """
    if whole and device.type == "cpu":
        use_threads(threads)
        return Crew(1, partial(torch.set_num_threads, threads))
    use_threads(1)
    _set_malloc(M_ARENA_MAX, threads)  # with fewer they wait for each other, with more memory is wasted
    # a new thread computes with as many threads as there are cores until it is told otherwise
    return Crew(threads, partial(torch.set_num_threads, 1)) if device.type == "cpu" else ALONE


def _keep_freed_memory() -> None:
    """Have glibc keep what an iteration frees for the next one.

    Otherwise each tensor of some size goes back to the system and is faulted in again, a fifth of an iteration.
    """
    _set_malloc(M_MMAP_THRESHOLD, 1 << 30)
    _set_malloc(M_TRIM_THRESHOLD, (1 << 31) - 1)


def _set_malloc(parameter: int, value: int) -> None:
    """Set a parameter of glibc's malloc; other systems have none."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # not with musl
        library.mallopt(parameter, value)


def platform_fingerprint(device: torch.device, dtype: torch.dtype, threads: int, compiler: str = "") -> dict[str, str]:
    """Return what, beside code, data and params, decides the bytes of a trained model."""
    build = hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:12]
    return {
        "torch": torch.__version__,
        "torch_build": build,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(threads),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(dtype).removeprefix("torch."),
        **({"compiler": compiler} if compiler else {}),
    }
