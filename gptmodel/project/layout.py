"""Where the files of a project lie, and which folder is the project's."""

import os
from dataclasses import dataclass
from pathlib import Path


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
        """What fetch notes of its source for DVC: a link to a local file, so that DVC sees it change.

        Where that file is gone, DVC itself ends, naming this one: so it has the name of the setting.
        """
        return self.root / "data" / "fetch.source"

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


def project_root() -> Path:
    """Return the folder that keeps runs/ and the MLflow store: $DVC_ROOT, or the nearest one with a dvc.yaml.

    `dvc exp run --temp` works in a folder that is deleted afterwards; $DVC_ROOT is the lasting one.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root)
    cwd = Path.cwd()
    return next((folder for folder in (cwd, *cwd.parents) if (folder / "dvc.yaml").is_file()), cwd)


def source_path(source: str, root: Path) -> Path | None:
    """Return the file that fetch.source names; None where it names none: shakespeare, own, a URL that is not local.

    A relative path starts at the project's folder, wherever a stage runs, and `~` is the user's home.
    """
    for scheme in ("file://", "local://"):
        source = source.removeprefix(scheme)
    if source in ("shakespeare", "own") or "://" in source:
        return None
    return root / os.path.expanduser(source)  # noqa: PTH111  # which leaves `~` of nobody as it is
