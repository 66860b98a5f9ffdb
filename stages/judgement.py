"""How a model is judged by both splits: what the evaluate stage computes, writes, tracks and prints."""

from pathlib import Path
from typing import TYPE_CHECKING

from gptmodel.project.layout import Layout, project_root
from stages.command import note, say, tell
from stages.options import MODEL_FILE

if TYPE_CHECKING:
    from gptmodel.config import Params


def judge_model(params_file: Path | None, params: "Params", model_file: Path, out: Path) -> None:
    """Score both splits, and write what is to be written; without a params file this is a trial."""
    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.data.prepared import VAL, load_prepared
    from gptmodel.evaluation.baselines import lines_on_val
    from gptmodel.evaluation.history import evaluated_iteration, history_beside
    from gptmodel.evaluation.outputs import write_outputs
    from gptmodel.evaluation.plots import plot_evaluation
    from gptmodel.evaluation.report import judge
    from gptmodel.evaluation.score_store import ScoreStore
    from gptmodel.evaluation.scores import score
    from gptmodel.project.inputs import Inputs
    from stages.tracked import log_evaluation, run_tracker

    inputs = Inputs("evaluate", params_file) if params_file else None
    in_place = out == Path() and (inputs is not None or model_file == MODEL_FILE)
    if in_place and inputs is None:
        note("note: with other settings, this evaluation is not tracked, and dvc.lock does not record it")
    target, place, history = Layout(out), Place.of(params, "evaluate"), history_beside(model_file)
    model, data = load_model(model_file, place.device), load_prepared(Layout().prepared)
    store = ScoreStore.of(project_root() / "runs" / "scores", model_file, data, place, params.evaluate.max_tokens)
    if scores := store.load():
        note(f"nothing is scored again: {store.path} has the losses of this model on this data")
    run_json = Layout(model_file.parent.parent).run if history and inputs is not None else None
    with run_tracker(run_json, mlflow=params.runtime.mlflow) as tracker:
        scores = scores or score(model, data, place, params.evaluate.max_tokens)
        report = judge(scores, params.evaluate.overfit_gap, history)
        bits_per_byte = report.metrics()["val"]["bits_per_byte"]
        lines = report.lines() + lines_on_val(Layout().metrics("baselines"), data.digests()[VAL], bits_per_byte)
        if inputs is not None:
            inputs.check()
        if in_place or out != Path():
            store.check()
            if in_place:
                store.save(scores)
            write_outputs(report, target, model_file, data)
            plot_evaluation(target.plots, history, scores.train.loss.by_position(), scores.val.loss.by_position())
            log_evaluation(tracker, report.metrics(), lines, evaluated_iteration(history, model.provenance), target)
    (tell if in_place or out != Path() else say)("\n".join(lines))
