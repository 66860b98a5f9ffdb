"""The trained models that `gptmodel compare` is given: found by name, checked to be of one text, and scored."""

from pathlib import Path
from typing import TYPE_CHECKING

from gptmodel.errors import ConfigError, DataError, GptModelError
from gptmodel.project.layout import Layout, project_root
from stages.command import note

if TYPE_CHECKING:
    from gptmodel.data.prepared import PreparedData
    from gptmodel.language_model import LanguageModel
    from gptmodel.project.trained import Trained
    from gptmodel.reporting.comparison import Run


def find(name: str, folder: Path) -> "Trained":
    """Return the files of a model file or folder, a git revision, a DVC experiment or an MLflow run.

    What comes from MLflow is put into `folder`. ConfigError says where it was looked for.
    """
    from gptmodel.project.trained import Trained, at_path, of_revision
    from gptmodel.tracking.database import store_address
    from gptmodel.tracking.lookup import tracked_model

    root = project_root().resolve()
    absent: GptModelError = ConfigError(
        f"{name}: there is no such model file, no such git revision or DVC experiment in {root}, and no such run "
        f"in MLflow at {store_address(root)}; `dvc exp show` and `gptmodel ui` show the names"
    )
    try:
        if trained := at_path(name) or of_revision(root, name):
            return trained
    except DataError as error:  # a run may be called by a commit
        absent = error
    if files := tracked_model(root, name, folder):
        return Trained(name, *files)
    raise absent


def scored(contenders: "list[Trained]", data: "PreparedData | None") -> "tuple[list[Run], bytes]":
    """Load each model, and score it where evaluate did not; return the held-out text too, if it is here.

    DataError for models of different texts. `data` is the project's, if it has one.
    """
    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.evaluation.baselines import text_bytes
    from gptmodel.evaluation.held_out import held_out_digests, is_held_out

    models = [load_model(trained.model) for trained in contenders]
    if len({held_out_digests(model) for model in models}) > 1 or None in map(held_out_digests, models):
        for trained, model in zip(contenders, models, strict=True):
            _check_text(trained, model, data)
    runs = [_run(trained, model, data) for trained, model in zip(contenders, models, strict=True)]
    return runs, text_bytes(data, data.val.ids) if data is not None and is_held_out(models[0], data) else b""


def _check_text(trained: "Trained", model: "LanguageModel", data: "PreparedData | None") -> None:
    from gptmodel.evaluation.held_out import is_held_out

    if data is None or not is_held_out(model, data):
        reason = f"its held-out text is not the one in {Layout().prepared.as_posix()}, so its losses cannot be compared"
        raise DataError(f"{trained.name}: {reason}; take models of one text and one prepare.train_fraction")


def _run(trained: "Trained", model: "LanguageModel", data: "PreparedData | None") -> "Run":
    from gptmodel.compute.place import Place
    from gptmodel.evaluation.held_out import held_out_ids, written_losses
    from gptmodel.evaluation.spans import val_losses
    from gptmodel.reporting.comparison import Run
    from gptmodel.reporting.settings import training_of

    if (losses := written_losses(trained.val_losses, trained.model, model)) is not None:
        return Run(trained.name, training_of(model), losses)
    if data is None:
        raise DataError(f"{trained.name}: has to be scored, and no text is here; run `dvc repro prepare` first")
    _check_text(trained, model, data)
    note(f"scoring {trained.name} on the held-out text ...")
    return Run(trained.name, training_of(model), val_losses(model, held_out_ids(model, data), Place.on("cpu")))
