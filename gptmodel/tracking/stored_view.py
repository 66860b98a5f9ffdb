"""The runs as `gptmodel ui` opens them: a list sorted by the val loss, with what tells them apart, and the charts.

Whole names come first, then how good a run is, then the settings that differ, so that all of it is in sight. Among the
charts the loss curves come first. What has one point a run, a dot without a curve, is folded away below.

MLflow keeps such a view in a tag of the experiment, whose form is not documented (seen in MLflow 3.17). One that it
does not understand opens the plain list. The page of a single run takes no view: there MLflow shows the charts by the
section that a name begins with, in alphabetical order, and last of all the metrics that have none, such as val_loss.
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
)
BOX_COLUMN, NAME_COLUMN, LAST_COLUMN = "0", "attributes.`Run Name`", "duration"
"""MLflow's own columns: the box that selects a run, and its name, come first; the date stays beside the name."""
WIDTHS = {BOX_COLUMN: 73, NAME_COLUMN: 320, ORDER: 110, "metrics.`eval/val_bits_per_byte`": 155}
PARAM_WIDTH = 130
"""Of columns whose names would be cut off at MLflow's 100 pixels."""
CURVES = ("val_loss", "train_loss")
"""The first charts; MLflow adds those of the other metrics, each to the section that its name begins with."""
CURVES_SECTION = "Model metrics"
"""MLflow's own name of the section of metrics without a slash."""
FOLDED_SECTIONS = ("eval", "final")
MOST_PARAMS = 12
MOST_CURVES = 10


def view(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the value of the tag for these runs, as MLflow's API gives them."""
    params = [f"params.`{name}`" for name in differing_params(runs)[:MOST_PARAMS]]
    columns = {
        "selectedColumns": [*COLUMNS, *params],
        "columnOrder": [BOX_COLUMN, NAME_COLUMN, *COLUMNS, *params, LAST_COLUMN],
        "columnWidths": WIDTHS | dict.fromkeys(params, PARAM_WIDTH),
    }
    order = {"orderByKey": ORDER, "orderByAsc": True}
    charts = {"compareRunCharts": [_curve(metric) for metric in CURVES], "compareRunSections": _sections()}
    return json.dumps({**columns, **order, **charts, "isAccordionReordered": True})


def _sections() -> list[dict[str, Any]]:
    """Return the sections of the charts in their order; `isReordered` lets MLflow add charts at the end of one."""
    return [
        {"uuid": name, "name": name, "display": name not in FOLDED_SECTIONS, "isReordered": True, "isGenerated": True}
        for name in (CURVES_SECTION, *FOLDED_SECTIONS)
    ]


def _curve(metric: str) -> dict[str, Any]:
    """Return the chart of a metric over the iterations, as MLflow makes one itself."""
    lines = {"lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear", "range": {}, "xAxisKey": "step"}
    lines |= {"selectedXAxisMetricKey": "", "yAxisKey": "metric", "yAxisExpressions": [], "ignoreOutliers": False}
    place = {"uuid": metric, "metricSectionId": CURVES_SECTION, "deleted": False, "isGenerated": True}
    names = {"type": "LINE", "metricKey": metric, "displayName": metric, "runsCountToCompare": MOST_CURVES}
    return place | names | lines | {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}


def differing_params(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the params that have not the same value in all runs, in their order."""
    params = [{item["key"]: item["value"] for item in run.get("data", {}).get("params", [])} for run in runs]
    told = [of_run for of_run in params if of_run]  # a run that has just begun has none yet
    names = {name for of_run in told for name in of_run}
    return sorted(name for name in names if len({of_run.get(name) for of_run in told}) > 1)


def address(front: str, experiment: str) -> str:
    """Return the address that opens the view of an experiment: with an order in it too, MLflow leaves the view out."""
    return f"{front}/#/experiments/{experiment}/runs?viewStateShareKey={NAME}&workflowType=machine_learning"
