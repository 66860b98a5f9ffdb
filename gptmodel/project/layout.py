"""Where the files of a project lie, and which folder is the project's."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from gptmodel.errors import ConfigError

STUDY_MARK = "study"
"""The file in the folder of a training, in runs/, that names the study which keeps it."""


@dataclass(frozen=True)
class Layout:
    """Where the pipeline's files lie below a folder; dvc.yaml names the same paths."""

    root: Path = Path()

    @classmethod
    def around(cls, model: Path) -> "Layout | None":
        """Return the layout that a model file has its place in; None for a file that stands alone."""
        layout = cls(model.parent.parent)
        return layout if layout.model == model else None

    @property
    def text(self) -> Path:
        return self.root / "data" / "input.txt"

    @property
    def source(self) -> Path:
        """What fetch notes of its source for DVC: a link to a local file or folder, so that DVC sees it change.

        Where that file is gone, DVC itself ends, naming this one: so it has the name of the setting.
        """
        return self.root / "data" / "fetch.source"

    @property
    def val_source(self) -> Path:
        """The same for prepare.val_source."""
        return self.root / "data" / "prepare.val_source"

    @property
    def init_from(self) -> Path:
        """The same for train.init_from."""
        return self.root / "data" / "train.init_from"

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def model(self) -> Path:
        return self.root / "models" / "model.pth"

    @property
    def run(self) -> Path:
        return self.root / "models" / "run.json"

    @property
    def history(self) -> Path:
        return self.root / "metrics" / "history.csv"

    @property
    def positions(self) -> Path:
        return self.root / "metrics" / "loss_by_position.csv"

    def metrics(self, stage: str) -> Path:
        return self.root / "metrics" / f"{stage}.json"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def val_losses(self) -> Path:
        return self.root / "evaluation" / "val_losses.npy"

    @property
    def passages(self) -> Path:
        return self.root / "evaluation" / "passages.json"

    @property
    def report(self) -> Path:
        return self.root / "reports" / "report.html"

    @property
    def samples(self) -> Path:
        return self.root / "samples" / "samples.txt"


WORDS = ("shakespeare", "own")
"""What fetch.source can be beside a path and a URL."""
IN_MLFLOW = ("runs:/", "models:/")
"""How the name of a model begins that lies in the MLflow store, and not at a path."""


def project_root() -> Path:
    """Return the folder that keeps runs/ and the MLflow store: $DVC_ROOT, or the nearest one with a dvc.yaml.

    `dvc exp run --temp` works in a folder that is deleted afterwards; $DVC_ROOT is the lasting one.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root)
    cwd = Path.cwd()
    return next((folder for folder in (cwd, *cwd.parents) if (folder / "dvc.yaml").is_file()), cwd)


def check_project(root: Path) -> None:
    """Raise ConfigError for a folder that is no project and has no runs: who asks for its runs is in the wrong one."""
    if not any((root / name).exists() for name in ("dvc.yaml", "params.yaml", "runs", "mlflow.db")):
        raise ConfigError(f"{root}: is no project and has no runs; run this in the project's folder")


def source_path(source: str) -> Path | None:
    """Return where fetch.source leads; None where it is no path: shakespeare, own, a URL that is not local."""
    return None if source in WORDS else local_path(source)


def leads_to_files(path: Path) -> bool:
    """Whether there is a file or a folder at a path, or what matches it as a pattern."""
    seen = os.path.exists(path)  # noqa: PTH110  # which is false, and no error, where a folder cannot be read
    return seen or any(glob.iglob(str(path), recursive=True))  # noqa: PTH207  # which takes absolute ones


def local_path(setting: str) -> Path | None:
    """Return where a setting leads, a relative path from the project's folder on; None for a URL that is not local.

    A path starts there wherever a stage runs, and `~` is the user's home.
    """
    for scheme in ("file://", "local://"):
        setting = setting.removeprefix(scheme)
    return None if "://" in setting else Path(os.path.expanduser(setting))  # noqa: PTH111  # leaves `~` of nobody
