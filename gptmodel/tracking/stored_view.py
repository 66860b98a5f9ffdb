"""The list of runs as `gptmodel ui` opens it: sorted by the val loss, with what tells the runs apart.

MLflow keeps such a view in a tag of the experiment, whose form is not documented (seen in MLflow 3.17). One that it
does not understand opens the plain list.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

NAME = "gptmodel"
TAG = f"mlflow.sharedViewState.{NAME}"
ORDER = "metrics.`eval/val_loss`"
COLUMNS = (
    ORDER,
    "metrics.`eval/val_bits_per_byte`",
    "metrics.`eval/gap`",
    "tags.`verdict`",
    "metrics.`final/seconds`",
)
MOST_PARAMS = 12


def view(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the value of the tag for these runs, as MLflow's API gives them."""
    columns = [*COLUMNS, *(f"params.`{name}`" for name in differing_params(runs)[:MOST_PARAMS])]
    return json.dumps({"selectedColumns": columns, "orderByKey": ORDER, "orderByAsc": True})


def differing_params(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the params that have not the same value in all runs, in their order."""
    values: dict[str, set[str | None]] = {}
    params = [{item["key"]: item["value"] for item in run.get("data", {}).get("params", [])} for run in runs]
    names = dict.fromkeys(name for of_run in params for name in of_run)
    for name in names:
        values[name] = {of_run.get(name) for of_run in params if of_run}  # a run that has just begun has none yet
    return sorted(name for name in names if len(values[name]) > 1)


def address(front: str, experiment: str) -> str:
    """Return the address that opens the view of an experiment: with an order in it too, MLflow leaves the view out."""
    return f"{front}/#/experiments/{experiment}/runs?viewStateShareKey={NAME}&workflowType=machine_learning"
