"""The options that stages share, and the settings that they come to."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptmodel.errors import ConfigError
from gptmodel.project.layout import IN_MLFLOW, Layout, project_root
from stages.command import note

if TYPE_CHECKING:
    from gptmodel.config import Params

PARAMS_FILE = Path("params.yaml")
MODEL_FILE = Layout().model
FOLDERS = ("data", "data/prepared", "models", "metrics", "plots", "samples", "reports", "evaluation")


def _writable(out: Path) -> Path:
    """Refuse a folder to write below before anything is computed for it, where a file stands in the way.

    The folder that the stage runs in is none to write below: it counts as no --out.
    """
    for folder in (*out.parents, out, *(out / name for name in FOLDERS)):
        if os.path.lexists(folder) and not folder.is_dir():
            raise ConfigError(f"--out {out}: {folder} is not a folder; move it away, or name another with --out")
    return Path() if out.exists() and out.samefile(Path()) else out


def _model_file(model: Path) -> Path:
    """Return the file of a model; one of MLflow is downloaded to where it lies until the command ends."""
    name = model.as_posix()
    if not name.startswith(IN_MLFLOW):
        return model
    from gptmodel.tracking.lookup import download_model

    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return download_model(project_root(), name, Path(folder))


ParamsOption = Annotated[  # eager: read before --help, which shows its settings
    Path, typer.Option("--params", metavar="FILE", help="The file with the settings.", is_eager=True)
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("-S", "--set", metavar="SECTION.KEY=VALUE", help="Change a setting for this run; repeatable."),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        callback=_writable,
        help="Write below this folder, so that a trial run overwrites nothing.",
    ),
]
ModelOption = Annotated[
    Path,
    typer.Option(
        "--model",
        metavar="MODEL",
        callback=_model_file,
        help="The model file to use, or runs:/ID or models:/NAME@ALIAS of MLflow.",
    ),
]


def is_trial(params_file: Path, settings: list[str] | None, out: Path, *others: object) -> bool:
    """Whether somebody runs a stage by hand and with options, to look at something.

    The tracker's runs are those of the pipeline and of plain commands: a trial changes none. `others` are what the
    stage's own options say, false where they say nothing.
    """
    return "DVC_STAGE" not in os.environ and any((params_file != PARAMS_FILE, settings, out != Path(), *others))


def read_params(
    path: Path, settings: list[str] | None, *, trial: bool = False, model_file: Path = MODEL_FILE
) -> "Params":
    """Load and check a params file, telling the user of settings without effect and of those DVC will not know.

    Where there is no params.yaml, a model file from elsewhere is used by the defaults: it holds all else itself. What
    a trial has to say of its settings is up to the stage.
    """
    from gptmodel.ignored_settings import ignored_settings
    from gptmodel.params_file import load_params

    by_defaults = model_file != MODEL_FILE and path == PARAMS_FILE and not os.path.lexists(path)
    params = load_params(None if by_defaults else path, settings or ())
    for line in ignored_settings(params):
        note(f"warning: {line}")
    if settings and not trial and "DVC_STAGE" not in os.environ:
        note("note: -S holds for this run only; dvc.lock does not record it")
    return params
