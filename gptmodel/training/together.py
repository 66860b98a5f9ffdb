"""What the processes of a training have to have alike: inputs, settings and machine at its start, and weights later."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gptmodel.compute.ranks import World
from gptmodel.files import fingerprint
from gptmodel.project.inputs import code_digest
from gptmodel.training.decisive import Decisive
from gptmodel.training.sharded import Shards
from gptmodel.training.snapshot import read_snapshot, snapshot_bytes
from gptmodel.training.state import TrainingState

PULL = "has another data/prepared than the first; run `dvc pull data/prepared` there, or share the folder"


def check_inputs(decisive: Decisive) -> None:
    """Raise CommonError where a process of this training has other inputs than the first."""
    place, settings = decisive.place, {"model": decisive.params.model.model_dump(mode="json"), "train": decisive.train}
    place.world.same(
        {
            PULL: fingerprint(decisive.data.digests()),
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


def state_to_write(world: World, state: TrainingState, shards: Shards | None) -> TrainingState | None:
    """Return the whole state, None but at the first process; CommonError where another has computed other weights."""
    if shards is not None:
        return shards.gathered()
    check_weights(world, state)
    return state if world.is_first else None


def first_ones(world: World, load: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return the state that all processes go on from: what the first one loads, or None."""
    state = load() if world.is_first else None
    if world.size == 1:
        return state
    content = world.from_first(None if state is None else b"".join(snapshot_bytes(state)))
    return state if world.is_first or content is None else read_snapshot(io.BytesIO(content))


def _digest(state: TrainingState) -> str:
    """Return a digest of the weights and of what the optimizer keeps of them."""
    sha = hashlib.sha256()
    with torch.no_grad():
        for group in state.optimizer.param_groups:
            for weight in group["params"]:
                for value in (weight, *state.optimizer.state[weight].values()):
                    sha.update(value.cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
    return sha.hexdigest()
