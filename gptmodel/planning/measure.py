"""A few real iterations and forward passes on this machine, timed; no file is written and no generator is disturbed.

The iterations are those of `fit`: sampling a batch, seeding dropout, the update. First ones are thrown away. Only what
is compiled stays, in the cache of torch's compiler: the training that is planned does not wait for it again.
"""

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
import torch
from torch.nn import functional as F

from gptmodel.checkpoint.model_file import model_bytes
from gptmodel.compute.compiler import find_compiler, use_private_cache
from gptmodel.compute.place import Place
from gptmodel.compute.random import Stream, torch_generator
from gptmodel.compute.ranks import World
from gptmodel.config import Params
from gptmodel.data.batches import Splits, ids_on
from gptmodel.errors import ConfigError
from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.loss import at_once, split_loss
from gptmodel.language_model import LanguageModel
from gptmodel.planning.text import PlannedText
from gptmodel.sampling.generate import forgotten_at_once, generate
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.training.compiled import compiled
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.memory import memory_errors
from gptmodel.training.run import find_place, first_state
from gptmodel.training.snapshot import snapshot_bytes
from gptmodel.training.state import TrainingState

WARM_UP, LEAST = 3, 5  # iterations or passes thrown away; and timed, however long they take
NEVER = 1 << 40
DIGEST = 64 * "0"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found; seconds are medians."""

    platform: dict[str, str]
    parameters: int
    world: World  # the processes of this machine that will train
    memory: int  # bytes, estimated, of all of these
    threads: int  # that trained, in one process
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
    token_seconds: tuple[float, float]  # for a token of each sample: of one that is read alone, and of a whole context


@dataclass
class _Clock:
    """An observer that notes when iterations end, and says when there are enough."""

    seconds: float
    ends: list[float] = field(default_factory=list)

    def on_iteration(self, _iteration: int, loss: Callable[[], float]) -> None:
        loss()  # on a GPU the iteration ends when this is known
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

    Raises ConfigError for a missing device or a model in shards, TrainingError for little memory or infinite losses.
    """
    started = time.perf_counter()
    if params.train.compile:
        use_private_cache()
        importlib.import_module("torch._inductor.compile_fx")
    import_seconds = time.perf_counter() - started
    if params.train.shard:
        raise ConfigError("train.shard = true: a plan is measured in one process; plan with -S train.shard=false")
    world, place, memory = _place(params, text)
    with memory_errors(lambda: "while measuring"):
        started = time.perf_counter()
        state = first_state(params, text.tokenizer, text.ids, place)
        model_seconds = time.perf_counter() - started
        compile_seconds = _fill_compilers_cache(state.model, params, place) if place.compiler else 0.0
        start_seconds, iterations = _iterations(state, params, text, place, seconds)
        passes = _passes(state.model, text, place, seconds / 2)
        snapshot, snapshot_seconds = _snapshot(state)
        return Measured(
            platform=place.fingerprint,
            parameters=sum(p.numel() for p in state.model.transformer.parameters()),
            world=world,
            memory=memory,
            beside=place.beside,
            threads=place.threads,
            build_seconds=import_seconds + model_seconds + compile_seconds + start_seconds,
            iterations=len(iterations),
            iteration_seconds=median(iterations),
            spread=(float(np.quantile(iterations, 0.25)), float(np.quantile(iterations, 0.75))),
            passes=len(passes),
            block_seconds=median(passes),
            snapshot_seconds=snapshot_seconds,
            snapshot_bytes=snapshot,
            model_bytes=_model_bytes(state, params, place),
            evaluate_block_seconds=_evaluate_stage(state.model, params, text, place, median(passes), seconds / 2),
            token_seconds=_sampling(state.model, params, seconds / 8),
        )


def _place(params: Params, text: PlannedText) -> tuple[World, Place, int]:
    """Return the processes that will train here, where they are measured, and about how many bytes they will need.

    One process is measured, with as many threads as all of them have: these do the same work.
    """
    runtime, vocab_size, splits = params.runtime, text.tokenizer.vocab_size, (text.train_tokens, text.val_tokens)
    processes = runtime.processes if runtime.launcher is None else 1
    world = World(0, processes, processes)
    place, memory = find_place(params, vocab_size, splits, world)
    if processes > 1:
        in_one = runtime.model_copy(update={"threads": processes * place.threads})
        place, _ = find_place(params.model_copy(update={"runtime": in_one}), vocab_size, splits)
        place = replace(place, beside=False)  # as where several train
    return world, place, memory


def _fill_compilers_cache(model: LanguageModel, params: Params, place: Place) -> float:
    """Compile once, and return the seconds that a later training takes to try the compiler out from its cache."""
    compiled(model.transformer, params.train, place)
    torch.compiler.reset()
    started = time.perf_counter()
    find_compiler(params, place.device)
    return time.perf_counter() - started


def _iterations(
    state: TrainingState, params: Params, text: PlannedText, place: Place, seconds: float
) -> tuple[float, list[float]]:
    """Return the seconds until the first iteration began, and those of each timed one; `fit` does no evaluation."""
    clock = _Clock(seconds)
    row = Evaluation(iteration=0, tokens=0, seconds=0.0, learning_rate=0.0, train_loss=0.0, val_loss=0.0)
    state.history = [row]  # the evaluation before the first iteration was done, as it were
    endless = params.model_copy(
        update={
            "train": params.train.model_copy(update={"max_iters": NEVER, "eval_interval": NEVER}),
            "runtime": params.runtime.model_copy(update={"snapshot_seconds": math.inf}),
        }
    )
    hooks = Hooks(observer=clock, save=lambda _: None, stopped=clock.enough)
    started = time.perf_counter()
    fit(state, Splits(text.ids, text.ids), endless, replace(place, beside=False), hooks)
    times = clock.times()
    return max(0.0, clock.ends[0] - started - median(times)), times


def _passes(model: LanguageModel, text: PlannedText, place: Place, seconds: float) -> list[float]:
    """Return the seconds of a block in each timed round of forward passes, one for each thread of the crew."""
    block_size = model.params.block_size
    passes = at_once(block_size, text.tokenizer.vocab_size, place.device) * place.crew.size
    blocks = min(passes, (len(text.ids) - 1) // block_size)
    ids = ids_on(text.ids, place.device)
    times = _timed(lambda: split_loss(model, ids, F.cross_entropy, place, max_blocks=blocks), seconds)
    return [time / blocks for time in times]


def _evaluate_stage(
    model: LanguageModel, params: Params, text: PlannedText, training: Place, block_seconds: float, seconds: float
) -> float:
    """Return the seconds of a block in the evaluate stage: those of the training, if it computes in the same place."""
    place = Place.of(params, "evaluate")
    if (place.threads, place.device) == (training.threads, training.device) and place.device.type == "cpu":
        return block_seconds
    model.transformer.to(place.device)
    return median(_passes(model, text, place, seconds))


def _sampling(model: LanguageModel, params: Params, seconds: float) -> tuple[float, float]:
    """Return the seconds of a token while keys and values are kept, and of one for which a context is read again."""
    place, sample, block_size = Place.of(params, "sample"), params.sample, model.params.block_size
    model.transformer.to(place.device)
    reader = IncrementalModel(model)

    def seconds_after(length: int, count: int) -> float:
        sample_params = sample.model_copy(update={"max_new_tokens": count})
        idx = torch.zeros(sample.num_samples, length, dtype=torch.int64, device=place.device)  # (B, T)
        generator = torch_generator(sample.seed, Stream.SAMPLING, device=place.device)
        times = _timed(lambda: [step.ids.tolist() for step in generate(reader, idx, sample_params, generator)], seconds)
        return median(times) / count

    again = block_size - forgotten_at_once(sample, block_size) + 1  # ids that are read in one piece
    return seconds_after(1, min(16, block_size)), seconds_after(again, 1)


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


def _model_bytes(state: TrainingState, params: Params, place: Place) -> int:
    """Return the size of model.pth, with digests as long as the real ones."""
    data = dict.fromkeys(("tokenizer.json", "train.bin", "val.bin"), DIGEST)
    provenance = {"data": data, "platform": place.fingerprint, "train": params.train.model_dump(mode="json")}
    return len(model_bytes(state.model, provenance))
