"""Trainings on a device without a pipeline around them: the library's own parts, put together as the train stage does.

Shapes: n tokens.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.paths import ROOT
from gptmodel.compute.place import Place
from gptmodel.config import Params
from gptmodel.data.batches import Splits
from gptmodel.evaluation.history import Evaluation
from gptmodel.params_file import load_params
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.training.compiled import compiled
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.queued import Queued
from gptmodel.training.run import first_state
from gptmodel.training.state import TrainingState
from gptmodel.training.step import nats_of_all

SMALL = [
    "model.block_size=32",
    "model.n_embd=64",
    "model.n_layer=2",
    "train.batch_size=8",
    "train.max_iters=40",
    "train.eval_interval=40",
    "train.eval_iters=1",
]
"""A model whose gradients a CPU computes in float64 in a moment."""


def params_of(preset: str, settings: Sequence[str], device: str) -> Params:
    """Return the settings of params.yaml or of a preset on a device, with changes of the form section.key=value."""
    path = ROOT / ("params.yaml" if preset == "params" else f"presets/{preset}.yaml")
    return load_params(path, [f"train.device={device}", f"sample.device={device}", *settings])


def token_ids(count: int, vocab_size: int = 65) -> np.ndarray:
    """Return ids of a text in which something can be learnt, (n,) uint8 or uint16: each is near the last."""
    steps = np.random.default_rng(0).integers(-2, 3, size=count)
    return (np.cumsum(steps) % vocab_size).astype(np.uint8 if vocab_size <= 256 else np.uint16)


@dataclass
class Watch:
    """An observer that keeps what it is told."""

    tell: Callable[[Evaluation], None] | None = None
    rows: list[Evaluation] = field(default_factory=list)

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None: ...

    def on_evaluation(self, row: Evaluation) -> None:
        self.rows.append(row)
        if self.tell is not None:
            self.tell(row)

    def on_warning(self, line: str) -> None: ...


def train(
    params: Params, ids: np.ndarray, state: TrainingState | None = None, stop_after: int | None = None
) -> TrainingState:
    """Train a state, or a new one, by `fit`, to the end or for so many iterations; return it."""
    place = Place.of(params, "train")
    state = state or new_state(params, ids, place)
    last = None if stop_after is None else state.iteration + stop_after
    hooks = Hooks(observer=Watch(), save=lambda _: None, stopped=lambda: state.iteration == last)
    fit(state, Splits(ids, ids[:1000]), params, place, hooks)
    return state


def new_state(params: Params, ids: np.ndarray, place: Place, vocab_size: int = 256) -> TrainingState:
    """Return a training before its first iteration; its tokenizer is that of bytes, with as many more as are asked."""
    tokenizer = ByteTokenizer()
    tokenizer.vocab_size = vocab_size
    return first_state(params, tokenizer, ids, place)


def queue(params: Params, ids: np.ndarray, place: Place, vocab_size: int = 256) -> tuple[TrainingState, Queued]:
    """Return a training and who does its iterations, without a loop around them: on a CPU they are queued too."""
    state = new_state(params, ids, place, vocab_size)
    nats = compiled(state.model.transformer.train(), params.train, place) if place.compiler else nats_of_all
    return state, Queued(nats, state, torch.from_numpy(ids).to(place.device), params, place)


def weights_of(state: TrainingState) -> list[Tensor]:
    """Return copies of the weights and of what the optimizer keeps of them."""
    kept = [value for each in state.optimizer.state.values() for value in each.values() if isinstance(value, Tensor)]
    return [tensor.detach().cpu().clone() for tensor in (*state.model.transformer.parameters(), *kept)]


def same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether tensors are the same to the bit."""
    return len(left) == len(right) and all(map(torch.equal, left, right))


def finished(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_facts(device: torch.device) -> dict[str, Any]:
    """Return what the device is."""
    if device.type != "cuda":
        return {"name": device.type, "cores": os.cpu_count()}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
