"""The model of a run in the MLflow store of a project, by the run's id or name."""

import re
from pathlib import Path

from gptmodel.address import without_password
from gptmodel.errors import GptModelError
from gptmodel.tracking.mlflow_store import MODEL_ARTIFACT, MlflowStore, plain, store_uri

RUN_ID = re.compile(r"[0-9a-f]{32}")
VAL_LOSSES_ARTIFACT = "evaluation/val_losses.npy"


def store_address(root: Path) -> str:
    """Return where the store of a project is, without a password."""
    return without_password(store_uri(root))


def tracked_model(root: Path, name: str, folder: Path) -> tuple[Path, Path | None] | None:
    """Download the model file of a run, and what evaluate wrote of its losses; None for no run of this id or name.

    Raises GptModelError for a name of several runs, for a run without a model, and where the store is out of reach.
    """
    store = MlflowStore(root)
    try:
        ids = [name] if RUN_ID.fullmatch(name) else store.runs_named(name)
        if len(ids) > 1:
            raise GptModelError(
                f"{name}: {len(ids)} runs in MLflow have this name; give the id of one: {', '.join(ids[:5])}"
            )
        if not ids:
            return None
        below = folder / ids[0]
        below.mkdir()
        model = store.download(ids[0], MODEL_ARTIFACT, below)
        return model, _if_there(store, ids[0], VAL_LOSSES_ARTIFACT, below)
    except GptModelError:
        raise
    except Exception as error:
        raise GptModelError(f"{name}: MLflow at {store.address} cannot be read: {plain(error)}") from None


def _if_there(store: MlflowStore, run_id: str, artifact: str, folder: Path) -> Path | None:
    try:
        return store.download(run_id, artifact, folder)
    except GptModelError:
        return None
