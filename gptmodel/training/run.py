"""One training run from its inputs to its files: new or continued, locked against a second one, and finished.

Everything a run needs to go on after a kill lies in `runs/<fingerprint>/`: snapshots and the key of its tracking
journal. The fingerprint covers what decides the result, so a change of any of it starts a new run.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gptmodel.checkpoint.model_file import save_model
from gptmodel.compute.place import Place
from gptmodel.compute.random import Stream, torch_generator
from gptmodel.compute.ranks import ALONE_WORLD, World, joined
from gptmodel.config import Params
from gptmodel.data.batches import Splits
from gptmodel.data.corpus import check_splits
from gptmodel.data.prepared import PreparedData
from gptmodel.errors import ConfigError
from gptmodel.evaluation.history import history_csv
from gptmodel.files import atomic_write, fingerprint, remove_leftovers, write_json
from gptmodel.kneser_ney import KneserNey, longest_order
from gptmodel.language_model import LanguageModel
from gptmodel.nn.fused import SHORT_BLOCK, can_attend
from gptmodel.nn.transformer import build_model
from gptmodel.optim.factory import build_optimizer
from gptmodel.project.inputs import code_digest
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.training.memory import memory_errors, place_in_memory
from gptmodel.training.run_lock import locked
from gptmodel.training.snapshot import SnapshotStore
from gptmodel.training.state import TrainingState
from gptmodel.training.together import check_inputs, check_weights, newest_snapshot
from gptmodel.units import size


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """metrics/train.json."""

    iterations: int
    tokens: int
    seconds: float
    tokens_per_second: float
    train_loss: float  # nats per token, of the last evaluation
    val_loss: float
    parameters: int


class TrainingRun:
    """A run that holds its lock, continued from its newest snapshot if it has one. Use `TrainingRun.open`."""

    def __init__(self, folder: Path, data: PreparedData, params: Params, place: Place, memory: int) -> None:
        self.folder, self.data, self.params, self.place = folder, data, params, place
        self.memory = memory  # bytes, estimated
        self.digests = data.digests()
        self.journal_key = self._journal_key() if place.world.is_first else ""
        self._snapshots = SnapshotStore(folder)
        self.state = first_state(params, data.tokenizer, data.train.ids, place)
        snapshot = newest_snapshot(place.world, self._snapshots, self.state, params.train.max_iters)
        if snapshot is not None:
            self.state.load_state_dict(snapshot)

    @classmethod
    @contextmanager
    def open(cls, runs: Path, data: PreparedData, params: Params) -> Iterator["TrainingRun"]:
        """Open the run of these inputs, and keep others from opening it until the block ends.

        The processes that this one was started with are joined; the first has the folder and its lock. Raises
        ConfigError for a device that is not there, a dtype it cannot attend in, n-grams too long for the vocabulary or
        dropout that would be compiled, DataError when a split is shorter than a block, and TrainingError when memory
        would not do, another process has other inputs, or the same run is under way already.
        """
        splits = len(data.train.ids), len(data.val.ids)
        with joined(params.runtime.rank_timeout) as world:
            place, memory = find_place(params, data.tokenizer.vocab_size, splits, world)
            check_inputs(data.digests(), params, place)
            name = _name(data, params, place)
            folder = runs / name
            lock: AbstractContextManager[None] = nullcontext()
            if world.is_first:
                folder.mkdir(parents=True, exist_ok=True)
                lock = locked(runs / f"{name}.lock")
            with lock, memory_errors(lambda: "before or after the iterations"):
                if world.is_first:
                    folder.mkdir(parents=True, exist_ok=True)
                yield cls(folder, data, params, place, memory)

    def _journal_key(self) -> str:
        """Return the key of the tracking journal, the same one after every kill."""
        path = self.folder / "journal"
        key = path.read_bytes() if path.is_file() else b""
        if not re.fullmatch(rb"[0-9a-f]{32}", key):
            key = uuid.uuid4().hex.encode()
            atomic_write(path, key)
        return key.decode()

    @property
    def tokens_per_iteration(self) -> int:
        """Tokens one update sees."""
        return self.params.train.batch_size * self.params.model.block_size

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        return sum(p.numel() for p in self.state.model.transformer.parameters())

    def summary(self) -> str:
        """Return one line on what is about to be trained, where, and from which iteration."""
        train = self.params.train
        start = f", continued from iteration {self.state.iteration}" if self.state.iteration else ""
        platform = ", ".join(f"{key} {value}" for key, value in self.place.fingerprint.items())
        return (
            f"training {self.parameters:,} parameters for {train.max_iters:,} iterations "
            f"of {self.tokens_per_iteration:,} tokens{start}, in about {size(self.memory)} of memory ({platform})"
        )

    def stopped(self) -> str:
        """Return one line on a training that was stopped."""
        if not self.state.iteration:
            return "stopped before the first iteration, of which nothing is kept; run the same command to start again"
        return f"stopped at iteration {self.state.iteration}, the state is saved; run the same command to go on"

    @property
    def splits(self) -> Splits:
        """The token ids that are trained on and validated with."""
        return Splits(self.data.train.ids, self.data.val.ids)

    def save(self, state: TrainingState) -> None:
        """Write a snapshot; several processes compare their weights first."""
        check_weights(self.place.world, state)
        if self.place.world.is_first:
            self._snapshots.save(state.iteration, state.state_dict())

    def finish(self, model: Path, metrics: Path, history: Path) -> TrainResult | None:
        """Write model.pth, the metrics and the history; of several processes only the first does, None elsewhere."""
        check_weights(self.place.world, self.state)
        if not self.place.world.is_first:
            return None
        for path in (model, metrics, history):
            remove_leftovers(path)
        save_model(model, self.state.model, self.provenance())
        return self.write_metrics(metrics, history)

    def write_metrics(self, metrics: Path, history: Path) -> TrainResult:
        """Write the metrics and the history as they are after the last evaluation."""
        state, last = self.state, self.state.history[-1]
        tokens = state.iteration * self.tokens_per_iteration
        result = TrainResult(
            iterations=state.iteration,
            tokens=tokens,
            seconds=round(state.seconds, 3),
            tokens_per_second=round(tokens / max(state.seconds, 1e-9), 1),
            train_loss=last.train_loss,
            val_loss=last.val_loss,
            parameters=self.parameters,
        )
        write_json(metrics, asdict(result))
        atomic_write(history, history_csv(state.history).encode())
        return result

    def provenance(self) -> dict[str, Any]:
        """Return what model.pth says of its origin; nothing of it differs between two runs of the same inputs."""
        train = self.params.train.model_dump(mode="json")
        return {"data": self.digests, "platform": self.place.fingerprint, "train": train}

    def forget(self) -> None:
        """Remove the snapshots: the run has ended and its files are written."""
        self._snapshots.clear()


def find_place(
    params: Params, vocab_size: int, splits: tuple[int, int], world: World = ALONE_WORLD
) -> tuple[Place, int]:
    """Return where a training computes, and about how many bytes it needs there; `splits` are the tokens of each.

    Raises what `TrainingRun.open` does of settings that this machine, the text or the vocabulary cannot serve.
    """
    place = Place.of(params, "train", world)
    if not can_attend(params.model, place.device, place.dtype):
        raise ConfigError(
            f"train.dtype = {params.train.dtype}: with the environment's ATEN_CPU_CAPABILITY torch has no attention in "
            f"it for model.block_size above {SHORT_BLOCK} here; unset that variable, or set train.dtype to float32"
        )
    check_splits(*splits, params.model.block_size)
    order, longest = params.model.kneser_ney, longest_order(vocab_size)
    if order > longest:
        raise ConfigError(f"model.kneser_ney = {order}: can be at most {longest} with a vocabulary of {vocab_size}")
    return place_in_memory(params, vocab_size, splits[0], place)


def first_state(params: Params, tokenizer: Tokenizer, train_ids: NDArray[Any], place: Place) -> TrainingState:
    """Return a training before its first iteration, the n-grams of the train split (n,) counted if asked."""
    generator = torch_generator(params.train.seed, Stream.WEIGHTS)
    transformer = build_model(params.model, tokenizer.vocab_size, generator).to(place.device)
    counts = None
    if params.model.kneser_ney:
        ids = torch.from_numpy(train_ids.astype(np.int64))
        counts = KneserNey.count(params.model.kneser_ney, tokenizer.vocab_size, params.model.kneser_ney_share, ids)
    return TrainingState(
        model=LanguageModel(transformer, tokenizer, counts),
        optimizer=build_optimizer(transformer, params.train, place.crew),
        scaler=torch.amp.GradScaler(place.device.type, enabled=place.dtype == torch.float16),
    )


def _name(data: PreparedData, params: Params, place: Place) -> str:
    """Return the fingerprint of everything that decides the result."""
    return fingerprint(
        {
            "model": params.model.model_dump(mode="json"),
            "train": params.train.model_dump(mode="json"),
            "data": data.digests(),
            "code": code_digest("train"),
            "platform": place.fingerprint,
        }
    )
