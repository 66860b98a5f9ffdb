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
from gptmodel.compute.ranks import ALONE_WORLD, World, joined, talking
from gptmodel.config import Params
from gptmodel.data.batches import Splits
from gptmodel.data.corpus import check_splits
from gptmodel.data.prepared import PreparedData
from gptmodel.errors import ConfigError
from gptmodel.evaluation.history import history_csv, kept_row
from gptmodel.files import atomic_write, remove_leftovers, write_json
from gptmodel.kneser_ney import KneserNey, longest_order
from gptmodel.language_model import LanguageModel
from gptmodel.nn.fused import SHORT_BLOCK_IN_HALF, can_attend
from gptmodel.nn.transformer import build_model
from gptmodel.optim.factory import build_optimizer
from gptmodel.project.inputs import settings_in_lock
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.training.decisive import Decisive
from gptmodel.training.ends import EndStates, why_anew
from gptmodel.training.initial import initial_model
from gptmodel.training.loop import can_be_longer
from gptmodel.training.memory import memory_errors, place_in_memory
from gptmodel.training.run_lock import locked
from gptmodel.training.sharded import Shards
from gptmodel.training.snapshot import SnapshotStore
from gptmodel.training.state import TrainingState
from gptmodel.training.together import check_inputs, first_ones, state_to_write
from gptmodel.units import size


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """metrics/train.json."""

    iterations: int
    tokens: int
    seconds: float
    tokens_per_second: float
    train_loss: float  # nats per token, of the weights in model.pth
    val_loss: float
    parameters: int
    kept_iteration: int | None = None  # with train.keep = best, after which these were evaluated; else not in the file


class TrainingRun:
    """A run that holds its lock, continued from its newest snapshot if it has one. Use `TrainingRun.open`.

    Without one it goes on from the end of a shorter training, or begins.
    """

    def __init__(self, folder: Path, decisive: Decisive, memory: int) -> None:
        self.folder, self.decisive = folder, decisive
        self.data, self.params, self.place = decisive.data, decisive.params, decisive.place
        self.memory = memory  # bytes, estimated, of the processes of this machine
        self.journal_key = self._journal_key() if self.place.world.is_first else ""
        self._snapshots, self._ends = SnapshotStore(folder), EndStates(folder.parent, decisive.name_of_any_length())
        self.state = first_state(self.params, self.data.tokenizer, self.data.train.ids, self.place)
        if decisive.initial is not None:
            decisive.initial.put_into(self.state.model.transformer)
        self.is_made_longer = False
        if state := first_ones(self.place.world, self._load):
            self.state.load_state_dict(state)
        self._shards = Shards(self.state, self.params.train, self.place) if self.place.sharded else None
        self.state = self._shards.state if self._shards is not None else self.state

    @classmethod
    @contextmanager
    def open(cls, runs: Path, data: PreparedData, params: Params, root: Path = Path()) -> Iterator["TrainingRun"]:
        """Open the run of these inputs, and keep others from opening it until the block ends.

        The processes that this one was started with are joined; the first has the folder and its lock. Paths in
        settings start at `root`. Raises ConfigError for a missing device, a dtype it cannot attend in, n-grams too long
        for the vocabulary or another model to start from, DataError for a split shorter than a block, TrainingError for
        too little memory or a process with other inputs, and AlreadyRunning when the same run is under way.
        """
        splits = len(data.train.ids), len(data.val.ids)
        with joined(params.runtime.rank_timeout) as world:
            place, memory = find_place(params, data.tokenizer.vocab_size, splits, world)
            initial = initial_model(params, data.tokenizer, root)
            decisive = Decisive(data=data, params=params, place=place, initial=initial)
            check_inputs(decisive)
            folder = runs / (name := decisive.name())
            lock: AbstractContextManager[None] = nullcontext()
            if world.is_first:
                folder.mkdir(parents=True, exist_ok=True)
                lock = locked(runs / f"{name}.lock")
            with lock, memory_errors(lambda: "before or after the iterations"), talking():
                if world.is_first:
                    folder.mkdir(parents=True, exist_ok=True)
                yield cls(folder, decisive, memory)

    def _load(self) -> dict[str, Any] | None:
        """Return the newest snapshot, or else the state that a shorter training ended in."""
        snapshot = self._snapshots.load_newest(self._goes_on_from)
        if snapshot is None:
            snapshot = self._ends.load(self.state.fits, self.params.train)
            self.is_made_longer = snapshot is not None
        return snapshot

    def _goes_on_from(self, snapshot: dict[str, Any]) -> bool:
        return self.state.fits(snapshot) and snapshot["iteration"] <= self.params.train.max_iters

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
        start = f", continued from iteration {self.state.iteration:,}" if self.state.iteration else ""
        start += ", where a shorter training ended" if self.is_made_longer else ""
        start = start or (f", from the weights of {train.init_from}" if train.init_from is not None else "")
        platform = ", ".join(f"{key} {value}" for key, value in self.place.fingerprint.items())
        return (
            f"training {self.parameters:,} parameters for {train.max_iters:,} iterations "
            f"of {self.tokens_per_iteration:,} tokens{start}, "
            f"in about {size(self.memory)} of memory{self.place.world.words} ({platform})"
        )

    def introduction(self) -> Iterator[str]:
        """Say what is about to be trained, and why it begins, if it is the last one that DVC ran, made longer."""
        yield self.summary()
        if not self.state.iteration and (reason := why_anew(self.params, settings_in_lock("train"), self._ends.all)):
            yield f"note: {reason}"

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
        """Write a snapshot; several processes compare their weights first, or gather them."""
        if (whole := state_to_write(self.place.world, state, self._shards)) is not None:
            self._snapshots.save(whole.iteration, whole.state_dict())

    def finish(self, model: Path, metrics: Path, history: Path) -> TrainResult | None:
        """Write model.pth, the metrics and the history; of several processes only the first does, None elsewhere."""
        if (whole := state_to_write(self.place.world, self.state, self._shards)) is None:
            return None
        for path in (model, metrics, history):
            remove_leftovers(path)
        whole.end_with_best()
        save_model(model, whole.model, self.decisive.provenance())
        return self.write_metrics(metrics, history)

    def write_metrics(self, metrics: Path, history: Path) -> TrainResult:
        """Write the metrics and the history as they are after the last evaluation."""
        state, kept = self.state, kept_row(self.state.history, self.params.train.keep)
        tokens = state.iteration * self.tokens_per_iteration
        result = TrainResult(
            iterations=state.iteration,
            tokens=tokens,
            seconds=round(state.seconds, 3),
            tokens_per_second=round(tokens / max(state.seconds, 1e-9), 1),
            train_loss=kept.train_loss,
            val_loss=kept.val_loss,
            parameters=self.parameters,
            kept_iteration=kept.iteration if self.params.train.keep == "best" else None,
        )
        write_json(metrics, {key: value for key, value in asdict(result).items() if value is not None})
        atomic_write(history, history_csv(state.history).encode())
        return result

    def forget(self) -> None:
        """Remove the snapshots, but for the last if a longer training can go on from it: all files are written."""
        if can_be_longer(self.params.train):
            self._ends.take(self._snapshots.path(self.state.iteration))
        self._snapshots.clear()


def find_place(
    params: Params, vocab_size: int, splits: tuple[int, int], world: World = ALONE_WORLD
) -> tuple[Place, int]:
    """Return where a training computes, and about how many bytes this machine's processes need; `splits` are in tokens.

    Raises what `TrainingRun.open` does of settings that this machine, the text or the vocabulary cannot serve.
    """
    place = Place.of(params, "train", world)
    if not can_attend(params.model, place.device, place.dtype):
        raise ConfigError(
            f"train.dtype = {params.train.dtype}: with the environment's ATEN_CPU_CAPABILITY torch has no attention "
            f"in it for model.block_size above {SHORT_BLOCK_IN_HALF} here; unset that variable, or set train.dtype to "
            "float32"
        )
    check_splits(*splits, params.model.block_size)
    longest = longest_order(vocab_size)
    orders = {"model.kneser_ney": params.model.kneser_ney, "train.teacher_order": params.train.teacher_order}
    for name, order in orders.items():
        if order > longest:
            raise ConfigError(f"{name} = {order}: can be at most {longest} with a vocabulary of {vocab_size}")
    return place_in_memory(params, vocab_size, splits[0], place)


def first_state(params: Params, tokenizer: Tokenizer, train_ids: NDArray[Any], place: Place) -> TrainingState:
    """Return a training before its first iteration, the n-grams of the train split (n,) counted if asked."""
    generator = torch_generator(params.train.seed, Stream.WEIGHTS)
    home = "cpu" if place.sharded else place.device  # whole, it might not fit on the device
    transformer = build_model(params.model, tokenizer.vocab_size, generator).to(home)
    counts = None
    if params.model.kneser_ney:
        ids = torch.from_numpy(train_ids.astype(np.int64))
        counts = KneserNey.count(params.model.kneser_ney, tokenizer.vocab_size, params.model.kneser_ney_share, ids)
    state = TrainingState(
        model=LanguageModel(transformer, tokenizer, counts),
        optimizer=build_optimizer(transformer, params.train, place.crew),
        scaler=torch.amp.GradScaler(place.device.type, enabled=place.dtype == torch.float16),
    )
    if params.train.keep == "best":
        state.keep_best()
    return state
