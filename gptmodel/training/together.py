"""What the processes of a training have to have alike: inputs, settings and machine at its start, and weights later."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from gptmodel.compute.place import Place
from gptmodel.compute.ranks import World
from gptmodel.config import Params
from gptmodel.files import fingerprint
from gptmodel.project.inputs import code_digest
from gptmodel.training.snapshot import SnapshotStore, read_snapshot, snapshot_bytes
from gptmodel.training.state import TrainingState

PULL = "has another data/prepared than the first; run `dvc pull data/prepared` there, or share the folder"


def check_inputs(data: dict[str, str], params: Params, place: Place) -> None:
    """Raise CommonError where a process of this training has other inputs than the first; `data` are digests."""
    settings = {"model": params.model.model_dump(mode="json"), "train": params.train.model_dump(mode="json")}
    place.world.same(
        {
            PULL: fingerprint(data),
            "has other settings of model or train than the first; bring its params.yaml and -S in line": fingerprint(
                settings
            ),
            "has other code than the first; check out the same commit there": code_digest("train"),
            "computes otherwise than the first (torch, processor, or variables of the environment); take machines that "
            "are alike, or fewer": fingerprint(place.fingerprint),
        }
    )


def check_weights(world: World, state: TrainingState) -> None:
    """Raise CommonError where a process of this training has computed other weights than the first."""
    if world.size > 1:
        words = (
            f"has other weights than the first after iteration {state.iteration}, so one of them computes wrongly: "
            "check its memory and its processor; the last snapshot is kept"
        )
        world.same({words: _digest(state)})


def newest_snapshot(world: World, store: SnapshotStore, state: TrainingState, longest: int) -> dict[str, Any] | None:
    """Return the state that all processes go on from, of at most `longest` iterations: the first one's, or None."""

    def fits(snapshot: dict[str, Any]) -> bool:
        return state.fits(snapshot) and snapshot["iteration"] <= longest

    snapshot = store.load_newest(fits) if world.is_first else None
    if world.size == 1:
        return snapshot
    content = world.from_first(None if snapshot is None else b"".join(snapshot_bytes(snapshot)))
    return None if content is None else read_snapshot(content)


def _digest(state: TrainingState) -> str:
    """Return a digest of the weights and of what the optimizer keeps of them."""
    sha = hashlib.sha256()
    with torch.no_grad():
        for group in state.optimizer.param_groups:
            for weight in group["params"]:
                for value in (weight, *state.optimizer.state[weight].values()):
                    sha.update(value.cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
    return sha.hexdigest()
