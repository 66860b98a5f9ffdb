"""The states that trainings ended in, from which longer ones go on: in runs/ends, up to a gigabyte of them.

Only a training whose learning rates do not depend on its length leaves one. A longer training of the same inputs would
have been in that state as well, so what it makes of it is, byte for byte, what it makes from the start.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gptmodel.config import Params, TrainParams
from gptmodel.evaluation.history import patience_left
from gptmodel.training.decisive import LENGTH
from gptmodel.training.loop import can_be_longer
from gptmodel.training.snapshot import SNAPSHOTS, SnapshotStore
from gptmodel.training.state import rows_of

MOST_BYTES = 10**9
"""Of all that are kept; the newest is kept whatever its size."""


class EndStates:
    """The states in which trainings ended that differ in their length only."""

    def __init__(self, runs: Path, name: str) -> None:
        self.all = runs / "ends"
        self._folder = self.all / name

    def load(self, fits: Callable[[dict[str, Any]], bool], train: TrainParams) -> dict[str, Any] | None:
        """Return the last state that fits and that a training with these settings comes by; None if there is none."""

        def comes_by(state: dict[str, Any]) -> bool:
            return fits(state) and _comes_by(state, train)

        return SnapshotStore(self._folder).load_newest(comes_by) if can_be_longer(train) else None

    def take(self, snapshot: Path) -> None:
        """Take a training's last snapshot, if there is one, and drop the oldest of all where they are too many.

        Nothing depends on it: where the disk does not allow it, a longer training starts anew.
        """
        if not snapshot.is_file():
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            snapshot.replace(self._folder / snapshot.name)
        used = 0
        for path in sorted(self.all.glob(f"*/{SNAPSHOTS}"), key=_age, reverse=True):
            with suppress(OSError):  # another training ends beside this one
                is_newest, used = used == 0, used + path.stat().st_size
                if used > MOST_BYTES and not is_newest:
                    path.unlink()
                    path.parent.rmdir()


def why_anew(params: Params, locked: Mapping[str, Any], ends: Path) -> str | None:
    """Say why a training does not go on from the one that dvc.lock has the settings of, if it only has more iterations.

    `ends` is where it was looked for. None where it is another training.
    """
    train, before = params.train.model_dump(mode="json"), locked.get("train")
    if not isinstance(before, Mapping) or locked.get("model") != params.model.model_dump(mode="json"):
        return None
    iterations = before.get("max_iters")
    changed = {key for key in train.keys() | before.keys() if train.get(key) != before.get(key)}
    if not changed <= {*LENGTH} or not isinstance(iterations, int) or iterations >= params.train.max_iters:
        return None
    now = params.train.max_iters
    if not can_be_longer(params.train):
        rates = f"with train.lr_schedule = {params.train.lr_schedule}, {now:,} iterations have other learning rates"
        return f"starts anew: {rates} than {iterations:,}; only a constant one goes on"
    return f"starts anew: {ends} has no state after {iterations:,} iterations with this text, code and platform"


def _comes_by(state: dict[str, Any], train: TrainParams) -> bool:
    """Whether a training comes by a state, and does not begin with its own end."""
    iteration = state["iteration"]
    before = [row for row in rows_of(state["history"]) if row.iteration < iteration]
    return bool(iteration < train.max_iters and patience_left(before, train.patience) > 0)


def _age(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
