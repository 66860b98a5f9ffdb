"""Short trainings whose batches are cut into parts, by as many processes as torch's agent starts of this file.

`python tests/rank_digests.py FOLDER THREADS...` is one of them, which trains with each of these numbers of threads in
turn; the first writes what came out to FOLDER/digests.json.
"""

import gc
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from training_helpers import new_state, plain_run, rows_without_time, varied  # noqa: E402

from gptmodel.compute.crew import Crew  # noqa: E402
from gptmodel.compute.ranks import World, joined  # noqa: E402
from gptmodel.errors import CommonError  # noqa: E402
from gptmodel.training.loop import fit  # noqa: E402
from gptmodel.training.together import check_weights  # noqa: E402

BATCH = {"batch_size": 6, "max_iters": 5, "eval_interval": 2, "parts": 4}
EIGHT = {"batch_size": 8, "parts": 8}  # with one part for each process, its number would be that of the process
MUON = {"optimizer": "muon", "muon_lr": 0.02, "muon_momentum": 0.95}
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"train": {"optimizer": "sgd", "learning_rate": 0.1}},
    "adamw": {},
    "clipped": {"train": {"grad_clip": 0.1}},
    "muon": {"train": MUON},
    "n-grams": {"model": {"ngram_orders": [2, 3]}},
    "n-grams by sgd": {"model": {"ngram_orders": [2]}, "train": {"optimizer": "sgd"}},
    "dropout": {"model": {"dropout": 0.3, "ngram_orders": [2], "ngram_dropout": 0.5}, "train": EIGHT},
    "teacher": {"train": {"teacher_order": 3, "teacher_share": 0.4}},
    "bfloat16": {"train": {"dtype": "bfloat16"}},
}


def digests(world: World, threads: int = 1) -> dict[str, str]:
    """The digest of the weights and the history of each training."""
    results = {}
    for name, sections in SETTINGS.items():
        settings = {**sections, "train": {**BATCH, **sections.get("train", {})}}
        run, state = plain_run(**settings), new_state(**settings)
        dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
        assert fit(state, *varied(run, world=world, parts=run.params.train.parts, crew=Crew(threads), dtype=dtype))
        check_weights(world, state)
        sha = hashlib.sha256(repr(rows_without_time(state)).encode())
        for tensor in state.model.transformer.state_dict().values():
            sha.update(tensor.numpy().tobytes())
        results[name] = sha.hexdigest()
    return results


def failures(world: World) -> dict[str, str]:
    """What all processes say of a loss that is not finite, of other weights, and of other facts."""
    lines = {}
    settings = {"train": {**BATCH, "optimizer": "sgd", "learning_rate": 1e30}}
    state = new_state(**settings)
    try:
        fit(state, *varied(plain_run(**settings), world=world, parts=BATCH["parts"]))
    except CommonError as error:
        lines["loss"] = f"{state.iteration}: {error}"
    state = new_state()
    with torch.no_grad():
        state.model.transformer.decoder.bias[0] += world.rank
    for name, check in (
        ("weights", lambda: check_weights(world, state)),
        ("facts", lambda: world.same({"has one": "1", "has another": "x" * (1 + world.rank % 2)})),
    ):
        try:
            check()
        except CommonError as error:
            lines[name] = str(error)
    lines["agreed"] = str([world.agree(stop=world.rank == 1, save=False), world.agree(stop=False, save=world.rank > 0)])
    lines["sent"] = str([world.from_first(b"abc" if world.is_first else None), world.from_first(None)])
    return lines


def main(folder: Path, threads: list[str]) -> None:
    torch.set_num_threads(1)
    with joined(120) as world:
        result = {"digests": {count: digests(world, int(count)) for count in threads}, "lines": failures(world)}
        world.same({"tells otherwise": hashlib.sha256(json.dumps(result).encode()).hexdigest()})
    if world.is_first:
        (folder / "digests.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    gc.freeze()  # the end of a process that loaded torch takes half a second less
