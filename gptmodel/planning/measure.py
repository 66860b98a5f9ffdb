"""A few real iterations and forward passes on this machine, timed; no file is written and no generator is disturbed.

The iterations are those of `fit`: sampling a batch, seeding dropout, the update. First ones are thrown away. Only what
is compiled stays, in the cache of torch's compiler: the training that is planned does not wait for it again.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gptmodel.checkpoint.model_file import checkpoint_bytes
from gptmodel.compute.crew import Crew
from gptmodel.compute.place import crew_of, pick_device, pick_dtype, platform_fingerprint, use_threads
from gptmodel.compute.random import Stream, torch_generator
from gptmodel.config import Params, SampleParams
from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.loss import TOKENS_AT_ONCE, split_loss
from gptmodel.nn.transformer import TransformerModel
from gptmodel.planning.text import PlannedText
from gptmodel.sampling.generate import generate
from gptmodel.training.compiled import compiled, find_compiler
from gptmodel.training.loop import Conditions, fit
from gptmodel.training.memory import memory_errors, memory_needed
from gptmodel.training.run import check_order, first_state
from gptmodel.training.snapshot import snapshot_bytes
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Forward

WARM_UP, LEAST = 3, 5  # iterations or passes thrown away; and timed, however long they take
NEVER = 1 << 40
DIGEST = 64 * "0"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found; seconds are medians."""

    platform: dict[str, str]
    parameters: int
    memory: int  # bytes, estimated
    beside: bool  # whether evaluations compute beside the iterations
    build_seconds: float  # of the model and its optimizer, with their libraries, and of compiling from the cache
    iterations: int  # timed
    iteration_seconds: float
    spread: tuple[float, float]  # seconds: a quarter of the iterations took less than the first, one more than the last
    passes: int
    block_seconds: float  # forward, of a block in an evaluation during training
    evaluate_block_seconds: float  # and in the evaluate stage
    snapshot_seconds: float
    snapshot_bytes: int
    model_bytes: int
    token_seconds: tuple[float, float]  # of the next token of each sample: up to block_size, and past it


@dataclass
class _Clock:
    """An observer that notes when iterations end, and says when there are enough."""

    seconds: float
    ends: list[float] = field(default_factory=list)

    def on_iteration(self, _iteration: int, _loss: float) -> None:
        self.ends.append(time.perf_counter())

    def on_evaluation(self, _row: Evaluation) -> None: ...

    def on_warning(self, _line: str) -> None: ...

    def enough(self) -> bool:
        """Whether as many were timed as are needed, for as long as was wished."""
        timed = self.ends[WARM_UP - 1 :]
        return len(timed) > LEAST and timed[-1] - timed[0] >= self.seconds

    def times(self) -> list[float]:
        return np.diff(self.ends[WARM_UP - 1 :]).tolist()


def measure(params: Params, text: PlannedText, seconds: float) -> Measured:
    """Time iterations for about `seconds`, and evaluation, saving and sampling for less each.

    Raises ConfigError for a device that is not there, and TrainingError when memory would not do or the first losses
    are not finite.
    """
    device = pick_device(params.train.device, "train.device")
    compiler, libraries = _compiler(params, device)
    crew = crew_of(params.train.threads, device, whole=bool(compiler))
    dtype = pick_dtype(params.train.dtype, device)
    check_order(params, text.tokenizer.vocab_size)
    memory, beside = memory_needed(params, text.tokenizer.vocab_size, text.train_tokens, device)
    with memory_errors(lambda: "while measuring"):
        started = time.perf_counter()
        state = first_state(params, text.tokenizer.vocab_size, text.ids, device, dtype, crew)
        built = time.perf_counter() - started
        forward, compiling = _compiled(state.model, params, device, dtype) if compiler else (None, 0.0)
        iterations = _iterations(state, params, text, (device, dtype, crew, forward), seconds)
        passes = _passes(state.model, text, device, crew, seconds / 2)
        platform = platform_fingerprint(device, dtype, params.train.threads, compiler)
        snapshot, snapshot_seconds = _snapshot(state)
        return Measured(
            platform=platform,
            parameters=sum(p.numel() for p in state.model.parameters()),
            memory=memory,
            beside=beside,
            build_seconds=libraries + built + compiling,
            iterations=len(iterations),
            iteration_seconds=median(iterations),
            spread=(float(np.quantile(iterations, 0.25)), float(np.quantile(iterations, 0.75))),
            passes=len(passes),
            block_seconds=median(passes),
            snapshot_seconds=snapshot_seconds,
            snapshot_bytes=snapshot,
            model_bytes=_model_bytes(state, params, text, platform),
            evaluate_block_seconds=_evaluate_stage(state.model, params, text, median(passes), seconds / 2),
            token_seconds=_sampling(state.model, params.sample, seconds / 8),
        )


def _compiler(params: Params, device: torch.device) -> tuple[str, float]:
    """Return what the compiler says of itself, "" for none, and the seconds that importing torch's part of it takes."""
    started = time.perf_counter()
    if params.train.compile:
        importlib.import_module("torch._inductor.compile_fx")
    libraries = time.perf_counter() - started
    return find_compiler(params, device)[0], libraries


def _compiled(
    model: TransformerModel, params: Params, device: torch.device, dtype: torch.dtype
) -> tuple[Forward, float]:
    """Return the compiled model and the seconds that a training takes to find it in the compiler's cache."""
    compiled(model, params, device, dtype)
    torch.compiler.reset()
    started = time.perf_counter()
    find_compiler(params, device)
    return compiled(model, params, device, dtype), time.perf_counter() - started


def _iterations(
    state: TrainingState,
    params: Params,
    text: PlannedText,
    place: tuple[torch.device, torch.dtype, Crew, Forward | None],
    seconds: float,
) -> list[float]:
    """Return the seconds of each timed iteration, done by `fit` without an evaluation."""
    clock = _Clock(seconds)
    row = Evaluation(iteration=0, tokens=0, seconds=0.0, learning_rate=0.0, train_loss=0.0, val_loss=0.0)
    state.history = [row]  # the evaluation before the first iteration was done, as it were
    run = Conditions(
        train_data=text.ids,
        val_data=text.ids,
        params=params.train.model_copy(update={"max_iters": NEVER, "eval_interval": NEVER}),
        device=place[0],
        dtype=place[1],
        crew=place[2],
        beside=False,
        observer=clock,
        save=lambda _: None,
        snapshot_seconds=float("inf"),
        stopped=clock.enough,
        forward=place[3],
    )
    fit(state, run)
    return clock.times()


def _passes(model: nn.Module, text: PlannedText, device: torch.device, crew: Crew, seconds: float) -> list[float]:
    """Return the seconds of a block in each timed round of forward passes, one for each thread of the crew."""
    block_size: int = model.params.block_size  # type: ignore[union-attr,assignment]
    blocks = min(max(1, TOKENS_AT_ONCE // block_size) * crew.size, (len(text.ids) - 1) // block_size)
    times = _timed(lambda: split_loss(model, text.ids, F.cross_entropy, device, max_blocks=blocks, crew=crew), seconds)
    return [time / blocks for time in times]


def _evaluate_stage(model: nn.Module, params: Params, text: PlannedText, known: float, seconds: float) -> float:
    """Return the seconds of a block in the evaluate stage: those of the training, if it computes in the same place."""
    train, chosen = params.train, params.evaluate
    device = pick_device(chosen.device, "evaluate.device")
    if (chosen.threads, device) == (train.threads, pick_device(train.device, "train.device")):
        return known
    return median(_passes(model.to(device), text, device, crew_of(chosen.threads, device), seconds))


def _sampling(model: TransformerModel, params: SampleParams, seconds: float) -> tuple[float, float]:
    """Return the seconds of a token while keys and values are kept, and of one past block_size, where none are."""
    use_threads(params.threads)
    device = pick_device(params.device, "sample.device")
    model.to(device)
    block_size = model.params.block_size

    def seconds_after(length: int, count: int) -> float:
        few = params.model_copy(update={"max_new_tokens": count})
        idx = torch.zeros(params.num_samples, length, dtype=torch.int64, device=device)  # (B, T)
        generator = torch_generator(params.seed, Stream.SAMPLING, device=device)
        times = _timed(lambda: [part.tolist() for part in generate(model, idx, few, generator)], seconds)
        return median(times) / count

    return seconds_after(1, min(16, block_size)), seconds_after(block_size, 4)


def _timed(function: Callable[[], object], seconds: float) -> list[float]:
    """Return how long each call took but the first, of as many as fit into `seconds`."""
    ends = [time.perf_counter()]
    while len(ends) < LEAST + 2 or ends[-1] - ends[1] < seconds:
        function()
        ends.append(time.perf_counter())
    return np.diff(ends[1:]).tolist()


def _snapshot(state: TrainingState) -> tuple[int, float]:
    """Return the bytes of a snapshot, and the seconds it takes but for the disk's."""
    started = time.perf_counter()
    head, content = snapshot_bytes(state.state_dict())
    return len(head) + len(content), time.perf_counter() - started


def _model_bytes(state: TrainingState, params: Params, text: PlannedText, platform: dict[str, str]) -> int:
    """Return the size of model.pth, with digests as long as the real ones."""
    data = dict.fromkeys(("tokenizer.json", "train.bin", "val.bin"), DIGEST)
    provenance = {"data": data, "platform": platform, "train": params.train.model_dump(mode="json")}
    return len(checkpoint_bytes(state.model, text.tokenizer, provenance))
