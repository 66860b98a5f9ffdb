"""Short trainings with weights in shards, by as many processes as torch's agent starts of this file.

`python tests/shard_losses.py FOLDER` is one of them; the first writes what came out to FOLDER/told.json, and a model.
"""

import gc
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from training_helpers import CPU, Watcher, new_state, plain_run, rows_without_time, varied  # noqa: E402

from gptmodel.checkpoint.model_file import save_model  # noqa: E402
from gptmodel.compute.place import Place  # noqa: E402
from gptmodel.compute.ranks import World, joined  # noqa: E402
from gptmodel.errors import CommonError  # noqa: E402
from gptmodel.evaluation import loss  # noqa: E402
from gptmodel.training.loop import fit  # noqa: E402
from gptmodel.training.sharded import Shards  # noqa: E402
from gptmodel.training.snapshot import SnapshotStore  # noqa: E402
from gptmodel.training.together import first_ones  # noqa: E402

PROCESSES, ITERATIONS = 2, 10
TRAIN = {"parts": PROCESSES, "max_iters": ITERATIONS, "eval_interval": 5}
MODERN = {"norm": "pre", "norm_type": "rmsnorm", "position": "rotary", "qk_norm": True, "activation": "relu2"}
MODERN |= {"tie_embeddings": True, "decoder_bias": False, "qkv_bias": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"train": {"grad_clip": 0.1}},
    "sgd": {"train": {"grad_clip": 1.5, "optimizer": "sgd", "learning_rate": 0.3}},  # some norms are above it
    "modern with dropout": {"model": {**MODERN, "dropout": 0.2}},
    "teacher": {"train": {"teacher_order": 3, "teacher_share": 0.4}},
    "bfloat16": {"train": {"dtype": "bfloat16"}},
}
STOPPED_AT = 7
TOKENS_AT_ONCE = 16  # three batches of an evaluation, which two processes cannot share out evenly


def settings(name: str) -> dict[str, dict[str, Any]]:
    """The settings of a training."""
    return {**SETTINGS[name], "train": {**TRAIN, **SETTINGS[name].get("train", {})}}


def place(name: str, world: World) -> Place:
    """Where a training computes."""
    dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
    return replace(CPU, world=world, parts=PROCESSES, sharded=True, dtype=dtype)


def trained(name: str, world: World, folder: Path, stop_at: int | None = None) -> tuple[Shards, Watcher]:
    """Train, from the newest snapshot in a folder if there is one, and stop at an iteration if asked."""
    store = SnapshotStore(folder)
    state, where = new_state(**settings(name)), place(name, world)
    if snapshot := first_ones(world, lambda: store.load_newest(state.fits)):
        state.load_state_dict(snapshot)
    shards, watcher = Shards(state, plain_run(**settings(name)).params.train, where), Watcher()

    def save(_: Any) -> None:
        if (whole := shards.gathered()) is not None:
            store.save(whole.iteration, whole.state_dict())

    hooks = {"observer": watcher, "save": save, "stopped": lambda: shards.state.iteration == stop_at}
    run = varied(plain_run(**settings(name)), **hooks)
    assert fit(shards.state, *run._replace(place=where)) == (stop_at is None)
    return shards, watcher


def digest(shards: Shards) -> str:
    """The digest of weights, averages and history of a training, at the first process."""
    if (whole := shards.gathered()) is None:
        return ""
    sha = hashlib.sha256(repr(rows_without_time(whole)).encode())
    for tensors in (whole.model.transformer.state_dict(), *whole.optimizer.state_dict()["state"].values()):
        for tensor in tensors.values():
            sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


def failure(world: World, folder: Path) -> str:
    """What is said of a loss that is not finite."""
    SETTINGS["failing"] = {"train": {"optimizer": "sgd", "learning_rate": 1e30}}
    try:
        trained("failing", world, folder)
    except CommonError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    loss.TOKENS_AT_ONCE = TOKENS_AT_ONCE
    told: dict[str, Any] = {"losses": {}, "rows": {}}
    with joined(120) as world:
        for name in SETTINGS:
            shards, watcher = trained(name, world, folder / name)
            told["losses"][name] = [value for _, value in watcher.losses]
            told["rows"][name] = [[row.train_loss, row.val_loss] for row in watcher.rows]
            if name == "adamw":
                first = shards
        trained("adamw", world, folder / "stopped", STOPPED_AT)
        resumed, watcher = trained("adamw", world, folder / "stopped")
        told["first seen"] = watcher.losses[0][0]
        told["digests"] = [digest(first), digest(resumed)]
        whole = first.gathered()
        told["own"] = sum(weight.to_local().numel() for weight in first.state.model.transformer.parameters())
        told["failure"] = failure(world, folder / "failing")
    if whole is not None:
        save_model(folder / "model.pth", whole.model, {"data": {}, "platform": {}, "train": {}})
        (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    gc.freeze()  # the end of a process that loaded torch takes half a second less
