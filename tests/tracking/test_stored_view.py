"""The view of the runs that `gptmodel ui` opens: its columns are what tells the runs apart."""

import json
from typing import Any

from gptmodel.tracking.stored_view import COLUMNS, MOST_PARAMS, ORDER, differing_params, view


def run(**params: str) -> dict[str, Any]:
    """A run as MLflow's API gives it."""
    return {"data": {"params": [{"key": name.replace("__", "."), "value": value} for name, value in params.items()]}}


def test_only_what_differs_is_a_column() -> None:
    runs = [run(train__seed="1", model__position="learned"), run(train__seed="1", model__position="rotary")]
    state = json.loads(view(runs))
    assert state["selectedColumns"] == [*COLUMNS, "params.`model.position`"]
    assert (state["orderByKey"], state["orderByAsc"]) == (ORDER, True)
    shown = [name for name in state["columnOrder"] if name in state["selectedColumns"]]
    assert shown == state["selectedColumns"]


def test_the_loss_curves_are_the_first_charts_and_single_points_are_folded_away() -> None:
    state = json.loads(view([]))
    assert [chart["metricKey"] for chart in state["compareRunCharts"]] == ["val_loss", "train_loss"]
    sections = state["compareRunSections"]
    assert [section["display"] for section in sections] == [True, False, False]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {sections[0]["uuid"]}


def test_a_setting_that_some_runs_do_not_have_differs_and_a_run_that_has_just_begun_has_none() -> None:
    assert differing_params([run(a="1", b="2"), run(a="1"), {"data": {}}, {}]) == ["b"]
    assert differing_params([run(a="1", b="2"), {}]) == []
    assert differing_params([]) == []


def test_there_are_not_too_many_columns() -> None:
    runs = [run(**{f"p{number}": value for number in range(40)}) for value in "ab"]
    assert len(json.loads(view(runs))["selectedColumns"]) == len(COLUMNS) + MOST_PARAMS
