"""Give a trained model a name in MLflow's registry."""

import os
from typing import Annotated

import typer

from gptmodel.project.layout import Layout, project_root
from stages.command import note, say

NameOption = Annotated[str, typer.Option("--name", help="Name of the registered model.")]
AliasOption = Annotated[str, typer.Option("--alias", help="Alias that this version gets, and another one loses.")]
RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="ID", help="The run, by id or name.  [default: that of models/run.json]"),
]


def register(name: NameOption = "gptmodel", alias: AliasOption = "champion", run: RunOption = None) -> None:
    """Give a trained model a name in MLflow. It can be loaded and served where this project is not."""
    from gptmodel import served_model
    from gptmodel.tracking.database import store_address
    from gptmodel.tracking.registry import Served, check_names, register, run_called, run_of_model

    check_names(name, alias)
    root = project_root()
    run_id = run_of_model(root, Layout().run) if run is None else run_called(root, run)
    note("registering takes some seconds ...")
    served = Served(served_model.__name__, served_model.SETTINGS, served_model.LIBRARIES)
    entry = register(root, run_id, served, name, alias)
    moved = f", which was version {entry.former}" if entry.former not in (None, entry.version) else ""
    is_run = "is" if entry.anew else "is already"
    say(f"{name} version {entry.version} {is_run} run {entry.run_name} ({run_id}); alias {alias}{moved}")
    say("import mlflow")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        say(f"mlflow.set_tracking_uri({store_address(root)!r})")
    say(f'model = mlflow.pyfunc.load_model("models:/{name}@{alias}")')
