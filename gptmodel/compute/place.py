"""Where a stage computes: device, dtype, threads and compiler, found once and handed down as one `Place`.

What of it decides the bytes of a result is its fingerprint.
"""

import ctypes
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from gptmodel.compute.arithmetic import arithmetic
from gptmodel.compute.compiler import find_compiler
from gptmodel.compute.crew import ALONE, Crew
from gptmodel.compute.limits import usable_cores
from gptmodel.compute.ranks import ALONE_WORLD, World
from gptmodel.config import Params, TrainParams
from gptmodel.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # in which a CPU trains
THREADS = {str(threads): threads for threads in range(1, 1025)}  # of torch, more than any machine has
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage computes. `Place.of` makes it from the settings; nothing changes it afterwards."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    """Of the forward pass in a training."""
    threads: int = 1
    """Of a CPU, that compute: those of the crew, or torch's."""
    crew: Crew = ALONE
    parts: int = 1
    """Pieces that the batch of a training is cut into."""
    arithmetic: str = ""
    """What the device computes, as a digest, where a training computes."""
    compiler: str = ""
    """What the compiler says of itself and torch's settings of it, where a training is compiled by one."""
    not_compiled: str = ""
    """Why a training is not compiled although that was asked for."""
    deterministic: bool = True
    """Whether a GPU gives the same bytes each time; a CPU does."""
    beside: bool = False
    """Whether evaluations compute beside the iterations of a training, on cores that are idle: it changes no result."""
    world: World = ALONE_WORLD
    """The processes that train together, of which this is one."""
    sharded: bool = False
    """Whether each of them has a shard of the weights only: then all make the same number of forward passes."""

    @classmethod
    def of(cls, params: Params, stage: Literal["train", "evaluate", "sample"], world: World = ALONE_WORLD) -> "Place":
        """Return where a stage of these settings computes, and prepare this process for it.

        Raises ConfigError for a device that is not there, and for parts that the processes cannot share out.
        """
        device = pick_device(getattr(params, stage).device, f"{stage}.device")
        if stage != "train":  # one text, grown token by token, leaves a crew nothing to share out
            threads: int = getattr(params, stage).threads
            return cls(device=device, threads=threads, crew=_crew(threads, device, torch_threads=stage == "sample"))
        if device.type == "cuda" and world.local_size > torch.cuda.device_count():
            cards = f"this machine has {torch.cuda.device_count()} GPUs"
            raise ConfigError(f"runtime.processes = {world.local_size}: {cards}; start one process for each, or fewer")
        dtype = pick_dtype(params.train.dtype, device)
        if params.train.shard:
            check_shards(params, dtype, world)
        if params.train.compile and device.type == "cpu" and world.size > 1:  # whether there is a compiler or not
            raise ConfigError("train.compile = true: on a CPU one process computes; set it to false for several")
        compiler, not_compiled = find_compiler(params, device)
        # compiled code is faster by torch's threads than by a crew; how many they are decides its bytes, as parts do
        in_one_piece = bool(compiler) and device.type == "cpu"
        threads = params.train.parts if in_one_piece else _training_threads(params, world)
        crew = _crew(threads, device, torch_threads=in_one_piece)
        deterministic = is_deterministic(params.train, device)
        if not deterministic:
            torch.set_deterministic_debug_mode("default")
        return cls(
            device=device,
            dtype=dtype,
            threads=threads,
            crew=crew,
            parts=1 if in_one_piece else params.train.parts,
            arithmetic=arithmetic(device, dtype, threads=threads if in_one_piece else 1),
            compiler=compiler,
            not_compiled=not_compiled,
            deterministic=deterministic,
            beside=world.size == 1 and params.runtime.threads != 1 and has_idle_cores(device, threads),
            world=world,
            sharded=params.train.shard,
        )

    @classmethod
    def on(cls, device: str | torch.device) -> "Place":
        """Return one thread's place on a device, in float32; nothing of this process is changed."""
        return cls(device=torch.device(device))

    def autocast(self) -> torch.autocast:
        """Return the context in which the forward pass of a training computes in the place's dtype."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What, beside code, data and settings, decides the bytes of a trained model."""
        on_card = self.device.type == "cuda"
        return {
            "torch": torch.__version__,
            "torch_build": hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:12],
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            **({"arithmetic": self.arithmetic} if self.arithmetic else {}),
            **({"threads": str(self.threads)} if self.compiler and not on_card else {}),
            "device": torch.cuda.get_device_name(self.device) if on_card else self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
            **({"float32": torch.get_float32_matmul_precision()} if on_card else {}),  # "high" is TF32
            **({} if self.deterministic else {"deterministic": "no"}),
            **({"compiler": self.compiler} if self.compiler else {}),
        }


def of_this_machine(fingerprint: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a fingerprint that the machine decides, as they are here for the same device and settings.

    Raises KeyError for a fingerprint that no training on a CPU has.
    """
    device = torch.device("cpu")
    here = Place(device=device).fingerprint
    entries = {key: here[key] for key in ("torch", "torch_build", "cpu_capability")}
    if fingerprint["device"] == "cpu":
        threads = THREADS[fingerprint["threads"]] if "compiler" in fingerprint else 1
        entries["arithmetic"] = arithmetic(device, DTYPES[fingerprint["dtype"]], threads)
    return entries


def pick_device(name: str, key: str) -> torch.device:
    """Turn auto, cpu, cuda or mps into a device that is there; `key` names the setting in the error."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[name]:
        raise ConfigError(f"{key} = {name}: torch finds no such device on this machine; set {key} to auto or cpu")
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


def is_deterministic(train: TrainParams, device: torch.device) -> bool:
    """Tell whether a training gives the same bytes each time; on a CPU it does, whatever the settings say."""
    return train.deterministic or device.type != "cuda"


def check_shards(params: Params, dtype: torch.dtype, world: World) -> None:
    """Raise ConfigError for what cannot be trained with weights in shards."""
    model, train, size = params.model, params.train, world.size
    refused = {
        "is for several processes; set runtime.processes and train.parts to 2 or more, or this to false": size == 1,
        f"needs a part for each of the {size} processes; set train.parts to {size}": train.parts != size,
        "has no tables of n-grams; set model.ngram_orders to [], or this to false": bool(model.ngram_orders),
        "has no counts of n-grams; set model.kneser_ney to 0, or this to false": model.kneser_ney > 0,
        "has no muon, which needs whole matrices; set train.optimizer to adamw": train.optimizer == "muon",
        "keeps the last weights; set train.keep to last": train.keep == "best",
        "is not compiled; set train.compile to false": train.compile,
        "has no float16; set train.dtype to bfloat16 or float32": dtype == torch.float16,
    }
    for words, is_so in refused.items():
        if is_so:
            raise ConfigError(f"train.shard = true: {words}")


def _training_threads(params: Params, world: World) -> int:
    """Return how many threads of this process train on a CPU."""
    if params.train.shard:  # threads would mix up which weights are whole
        return 1
    cores = max(1, int(usable_cores()) // world.local_size)
    parts = len(world.share(params.train.parts))
    return min(parts, cores) if params.runtime.threads == "auto" else params.runtime.threads


def has_idle_cores(device: torch.device, threads: int) -> bool:
    """Tell whether a CPU has as many cores again as threads train; only cores that this process may use count.

    A GPU is busy with the iterations alone.
    """
    return device.type == "cpu" and usable_cores() >= 2 * threads


def _crew(threads: int, device: torch.device, *, torch_threads: bool) -> Crew:
    """Return `threads` threads that compute on a CPU with one torch thread each; elsewhere the device does the work.

    With `torch_threads` it is one that computes with as many of torch's: faster for compiled code and for sampling.
    """
    if torch_threads and device.type == "cpu":
        _use_threads(threads)
        return Crew(1, partial(torch.set_num_threads, threads))
    _use_threads(1)
    _set_malloc(M_ARENA_MAX, threads)  # with fewer they wait for each other, with more memory is wasted
    # a new thread computes with as many threads as there are cores until it is told otherwise
    return Crew(threads, partial(torch.set_num_threads, 1)) if device.type == "cpu" else ALONE


def _use_threads(threads: int) -> None:
    """Make torch compute with a fixed number of threads, by deterministic algorithms only, and keep freed memory."""
    # Otherwise each tensor of some size goes back to the system and is faulted in again, a fifth of an iteration.
    _set_malloc(M_MMAP_THRESHOLD, 1 << 30)
    _set_malloc(M_TRIM_THRESHOLD, (1 << 31) - 1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before its first use
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # what use_deterministic_algorithms does, without importing inductor
    # new memory need not be filled to be deterministic where every element is written, as it is here
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _set_malloc(parameter: int, value: int) -> None:
    """Set a parameter of glibc's malloc; other systems have none."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # not with musl
        library.mallopt(parameter, value)
