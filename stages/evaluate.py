"""The evaluate stage: models/model.pth and data/prepared -> metrics/evaluate.json and plots/."""

from pathlib import Path

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, note, say
from stages.options import (
    MODEL_FILE,
    PARAMS_FILE,
    ModelOption,
    OutOption,
    ParamsOption,
    SettingsOption,
    read_params,
    showing,
)

app = new_app()


@app.command(cls=showing("evaluate"))
def evaluate(
    params_file: ParamsOption = PARAMS_FILE,
    settings: SettingsOption = None,
    out: OutOption = Path(),
    model_file: ModelOption = MODEL_FILE,
) -> None:
    """Score every token of both splits once. Says whether the model overfits, underfits or is healthy."""
    params = read_params(params_file, settings)

    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.data.prepared import VAL, load_prepared
    from gptmodel.evaluation.baselines import read_baselines, standing
    from gptmodel.evaluation.history import history_beside
    from gptmodel.evaluation.outputs import write_outputs
    from gptmodel.evaluation.plots import plot_evaluation
    from gptmodel.evaluation.report import judge
    from gptmodel.evaluation.score_store import ScoreStore
    from gptmodel.evaluation.scores import score
    from gptmodel.project.inputs import Inputs
    from stages.tracked import log_evaluation, run_tracker

    inputs, target, place = Inputs("evaluate", params_file), Layout(out), Place.of(params, "evaluate")
    model, data = load_model(model_file, place.device), load_prepared(Layout().prepared)
    history = history_beside(model_file)
    store = ScoreStore.of(project_root() / "runs" / "scores", model_file, data, place, params.evaluate.max_tokens)
    if scores := store.load():
        note(f"nothing is scored again: runs/scores/{store.path.name} has the losses of this model on this data")
    run_json = Layout(model_file.parent.parent).run if history else None
    with run_tracker(run_json, mlflow=params.runtime.mlflow) as tracker:
        scores = scores or score(model, data, place, params.evaluate.max_tokens)
        report = judge(scores, params.evaluate.overfit_gap, history)
        inputs.check()
        if out == Path():
            store.save(scores)
        write_outputs(report, target)
        plot_evaluation(target.plots, history, scores.train.loss.by_position(), scores.val.loss.by_position())
        bits = read_baselines(Layout().metrics("baselines"), data.digests()[VAL])
        lines = [*report.lines(), *standing(bits, report.metrics()["val"]["bits_per_byte"])]
        log_evaluation(tracker, report.metrics(), lines, history[-1].iteration if history else 0, target)
    say("\n".join(lines))


if __name__ == "__main__":
    main(app)
