"""Where a trained model lies that the user calls by a path, a git revision or a DVC experiment."""

from dataclasses import dataclass
from pathlib import Path

from gptmodel.errors import DataError, GptModelError
from gptmodel.project.dvc_config import cache_file
from gptmodel.project.git import Revision, git
from gptmodel.project.layout import Layout
from gptmodel.project.lock import LockedStage, parse_lock

EXPERIMENTS = "refs/exps"
"""Where DVC keeps the commits of its experiments, below the commit that each began with."""


@dataclass(frozen=True)
class Trained:
    """The files of a trained model."""

    name: str
    """What the user calls it."""
    model: Path
    val_losses: Path | None
    """What evaluate wrote beside it, if it is there: of this model, or of one that had its place before."""


def at_path(name: str) -> Trained | None:
    """Return the model of a file, or of a folder that a stage wrote below; None where there is neither."""
    path = Path(name)
    model = Layout(path).model if path.is_dir() else path
    if not model.is_file():
        return None
    layout = Layout.around(model)
    losses = layout.val_losses if layout is not None else None
    return Trained(name, model, losses if losses is not None and losses.is_file() else None)


def of_revision(root: Path, name: str) -> Trained | None:
    """Return the model that dvc.lock of a git revision or DVC experiment names, from DVC's cache; None for neither.

    Raises DataError where the revision is there, but its model is not.
    """
    commit = _commit(root, name)
    if commit is None:
        return None
    try:
        lock = parse_lock(git(root, "show", f"{commit}:./dvc.lock"), f"dvc.lock of {name}")
    except DataError:
        raise
    except GptModelError:
        raise DataError(
            f"{name}: its commit {commit[:8]} has no dvc.lock; commit the one that `dvc repro` wrote"
        ) from None
    model = _cached(root, lock, Layout().model)
    if model is None:
        raise DataError(
            f"{name}: the {Layout().model.as_posix()} of its dvc.lock is not in DVC's cache; get it with "
            f"`dvc fetch --all-commits`, or run the pipeline there"
        )
    return Trained(name, model, _cached(root, lock, Layout().val_losses))


def _commit(root: Path, name: str) -> str | None:
    """Return the commit of a DVC experiment or git revision of this name, the newer of two experiments."""
    try:
        refs = git(root, "for-each-ref", "--sort=-committerdate", "--format=%(refname)", EXPERIMENTS).splitlines()
        reference = next((ref for ref in refs if ref.rpartition("/")[2] == name), name)
        return Revision.find(root, reference).commit
    except GptModelError:
        return None


def _cached(root: Path, lock: dict[str, LockedStage], path: Path) -> Path | None:
    outs = {name: entry for stage in lock.values() for name, entry in stage.outs.items()}
    entry = outs.get(path.as_posix())
    file = cache_file(root, entry.md5) if entry is not None else None
    return file if file is not None and file.is_file() else None
