"""One training run from its inputs to its files: new or continued, locked against a second one, and finished.

Everything a run needs to go on after a kill lies in `runs/<fingerprint>/`: snapshots and the key of its tracking
journal. The fingerprint covers what decides the result, so a change of any of it starts a new run.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

import gptmodel
from gptmodel.checkpoint.model_file import save_checkpoint
from gptmodel.compute.crew import ALONE, Crew
from gptmodel.compute.place import crew_of, pick_device, pick_dtype, platform_fingerprint
from gptmodel.compute.random import Stream, torch_generator
from gptmodel.config import Params
from gptmodel.data.corpus import check_splits
from gptmodel.data.prepared import PreparedData
from gptmodel.errors import ConfigError, TrainingError
from gptmodel.evaluation.history import history_csv
from gptmodel.files import atomic_write, remove_leftovers, write_json
from gptmodel.kneser_ney import longest_order
from gptmodel.nn.transformer import build_model
from gptmodel.optim.factory import build_optimizer
from gptmodel.training.compiled import compiled, find_compiler
from gptmodel.training.loop import Conditions, Observer
from gptmodel.training.memory import memory_errors, memory_needed
from gptmodel.training.snapshot import SnapshotStore, fingerprint
from gptmodel.training.state import TrainingState
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
    """A run that holds its lock. Use `TrainingRun.open`."""

    def __init__(self, folder: Path, data: PreparedData, params: Params, platform: dict[str, str]) -> None:
        self.folder = folder
        self.data = data
        self.params = params
        self.platform = platform
        self.digests = data.digests()
        self.state: TrainingState
        self.device: torch.device
        self.dtype: torch.dtype
        self.crew: Crew
        self.memory = 0  # bytes, estimated
        self.beside = False  # whether evaluations compute beside the iterations
        self.compiler = ""  # what it says of itself, if there is one
        self.not_compiled = ""  # why not, if that was asked for
        self.journal_key = self._journal_key()
        self._snapshots = SnapshotStore(folder)

    @classmethod
    @contextmanager
    def open(cls, runs: Path, data: PreparedData, params: Params) -> Iterator["TrainingRun"]:
        """Open the run of these inputs, continued from its newest snapshot if it has one.

        Raises ConfigError for a device that is not there, n-grams too long for the vocabulary or dropout that would be
        compiled, DataError when a split is shorter than a block, and TrainingError when memory would not do or the same
        run is under way already.
        """
        device = pick_device(params.train.device, "train.device")
        compiler, not_compiled = find_compiler(params, device)
        crew = crew_of(params.train.threads, device, whole=bool(compiler))
        dtype = pick_dtype(params.train.dtype, device)
        check_splits(len(data.train.ids), len(data.val.ids), params.model.block_size)
        check_order(params, data.tokenizer.vocab_size)
        memory, beside = memory_needed(params, data.tokenizer.vocab_size, len(data.train.ids), device)
        platform = platform_fingerprint(device, dtype, params.train.threads, compiler)
        name = _name(data, params, platform)
        folder = runs / name
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(runs / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise TrainingError(
                f"the same training is under way in another process (its lock is {lock.lock_file}); "
                "wait for it, or stop it: it goes on from there"
            ) from None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run = cls(folder, data, params, platform)
            run.device, run.dtype, run.crew = device, dtype, crew
            run.memory, run.beside = memory, beside
            run.compiler, run.not_compiled = compiler, not_compiled
            with memory_errors(lambda: "before or after the iterations"):
                run._restore()
                yield run
        finally:
            lock.release()

    def _restore(self) -> None:
        vocab_size, ids = self.data.tokenizer.vocab_size, self.data.train.ids
        self.state = first_state(self.params, vocab_size, ids, self.device, self.dtype, self.crew)
        last = self.params.train.max_iters
        snapshot = self._snapshots.load_newest(lambda found: self.state.fits(found) and found["iteration"] <= last)
        if snapshot is not None:
            self.state.load_state_dict(snapshot)

    def _journal_key(self) -> str:
        """Return the key of the tracking journal, the same one after every kill."""
        path = self.folder / "journal"
        known = path.read_bytes() if path.is_file() else b""
        if not re.fullmatch(rb"[0-9a-f]{32}", known):
            known = uuid.uuid4().hex.encode()
            atomic_write(path, known)
        return known.decode()

    @property
    def tokens_per_iteration(self) -> int:
        """Tokens one update sees."""
        return self.params.train.batch_size * self.params.model.block_size

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        return sum(p.numel() for p in self.state.model.parameters())

    def summary(self) -> str:
        """Return one line on what is about to be trained, where, and from which iteration."""
        train = self.params.train
        start = f", continued from iteration {self.state.iteration}" if self.state.iteration else ""
        platform = ", ".join(f"{key} {value}" for key, value in self.platform.items())
        return (
            f"training {self.parameters:,} parameters for {train.max_iters:,} iterations "
            f"of {self.tokens_per_iteration:,} tokens{start}, in about {size(self.memory)} of memory ({platform})"
        )

    def conditions(self, observer: Observer, stopped: Callable[[], bool]) -> Conditions:
        """Return what `fit` needs beside the state, compiling the model if that was asked for."""
        forward = compiled(self.state.model, self.params, self.device, self.dtype) if self.compiler else None
        return Conditions(
            train_data=self.data.train.ids,
            val_data=self.data.val.ids,
            params=self.params.train,
            device=self.device,
            dtype=self.dtype,
            crew=self.crew,
            beside=self.beside,
            observer=observer,
            save=self.save,
            snapshot_seconds=self.params.runtime.snapshot_seconds,
            stopped=stopped,
            forward=forward,
        )

    def save(self, state: TrainingState) -> None:
        """Write a snapshot."""
        self._snapshots.save(state.iteration, state.state_dict())

    def finish(self, model: Path, metrics: Path, history: Path) -> TrainResult:
        """Write model.pth, the metrics and the history."""
        state, last = self.state, self.state.history[-1]
        tokens = state.iteration * self.tokens_per_iteration
        result = TrainResult(
            iterations=state.iteration,
            tokens=tokens,
            seconds=round(state.seconds, 3),
            tokens_per_second=round(tokens / state.seconds, 1),
            train_loss=last.train_loss,
            val_loss=last.val_loss,
            parameters=self.parameters,
        )
        for path in (model, metrics, history):
            remove_leftovers(path)
        save_checkpoint(model, state.model, self.data.tokenizer, self.provenance())
        write_json(metrics, asdict(result))
        atomic_write(history, history_csv(state.history).encode())
        return result

    def provenance(self) -> dict[str, Any]:
        """Return what model.pth says of its origin; nothing of it differs between two runs of the same inputs."""
        train = self.params.train.model_dump(mode="json")
        return {"data": self.digests, "platform": self.platform, "train": train}

    def forget(self) -> None:
        """Remove the snapshots: the run has ended and its files are written."""
        self._snapshots.clear()


def check_order(params: Params, vocab_size: int) -> None:
    """Raise ConfigError when the vocabulary is too large for n-grams as long as are to be counted."""
    asked, longest = params.model.kneser_ney, longest_order(vocab_size)
    if asked > longest:
        raise ConfigError(f"model.kneser_ney = {asked}: {longest} at most with a vocabulary of {vocab_size}; lower it")


def first_state(
    params: Params,
    vocab_size: int,
    train_ids: NDArray[Any],
    device: torch.device,
    dtype: torch.dtype,
    crew: Crew = ALONE,
) -> TrainingState:
    """Return a training before its first iteration, the n-grams of the train split (n,) counted."""
    model = build_model(params.model, vocab_size, torch_generator(params.train.seed, Stream.WEIGHTS)).to(device)
    if model.kneser_ney is not None:
        model.kneser_ney.count(torch.from_numpy(train_ids.astype(np.int64)))
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    return TrainingState(model=model, optimizer=build_optimizer(model, params.train, crew), scaler=scaler)


def _name(data: PreparedData, params: Params, platform: dict[str, str]) -> str:
    """Return the fingerprint of everything that decides the result."""
    return fingerprint(
        {
            "model": params.model.model_dump(mode="json"),
            "train": params.train.model_dump(mode="json"),
            "data": data.digests(),
            "code": _code_digest(),
            "platform": platform,
        }
    )


def _code_digest() -> str:
    """Return the digest of the library's source."""
    assert gptmodel.__file__ is not None
    folder = Path(gptmodel.__file__).parent
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()
