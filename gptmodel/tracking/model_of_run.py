"""The model file of a run, from the MLflow store of a project."""

from pathlib import Path

from gptmodel.errors import GptModelError
from gptmodel.tracking.database import database_file, store_uri
from gptmodel.tracking.mlflow_store import MlflowStore, plain

MODEL_ARTIFACT = "model/model.pth"


def download_model(root: Path, run_id: str, folder: Path) -> Path:
    """Download the model file of a run into `folder` and return where it is.

    GptModelError for a run that is not in the store, for one without a model, and where the store is out of reach.
    """
    run, database = f"runs:/{run_id}", database_file(store_uri(root))
    if database is not None and not database.exists():
        raise GptModelError(f"{run}: there is no MLflow store at {database}; `gptmodel train` makes one")
    store = MlflowStore(root)
    try:
        store.connect(lambda _what, _seconds: None)
        file = store.fetch(run_id, MODEL_ARTIFACT, folder)
    except LookupError:
        raise GptModelError(f"{run}: {store.address} has no such run; `gptmodel ui` shows the ids of all") from None
    except GptModelError:
        raise
    except Exception as error:
        raise GptModelError(f"{run}: {store.address} cannot be read: {plain(error)}") from None
    if file is None:
        raise GptModelError(
            f"{run}: it has no {MODEL_ARTIFACT}; its training did not end, or `gptmodel sync` has to send it"
        )
    return file
