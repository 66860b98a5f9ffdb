"""The evaluate stage: models/model.pth and data/prepared -> metrics/evaluate.json and plots/."""

from pathlib import Path

from gptmodel.project.layout import Layout
from stages.command import main, new_app, note, say
from stages.options import (
    MODEL_FILE,
    PARAMS_FILE,
    ModelOption,
    OutOption,
    ParamsOption,
    SettingsOption,
    is_trial,
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
    trial = is_trial(params_file, settings, out, model_file != MODEL_FILE)
    writes = model_file == MODEL_FILE or not trial or out != Path()
    params = read_params(params_file, settings, trial=trial, model_file=model_file)
    if trial and writes and out == Path():
        note("note: -S holds for this run only: it is not tracked, and dvc.lock does not record it")

    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.data.prepared import load_prepared
    from gptmodel.evaluation.history import read_history
    from gptmodel.evaluation.plots import plot_loss_by_position, plot_loss_curves
    from gptmodel.evaluation.report import evaluate_model
    from gptmodel.files import write_json
    from gptmodel.project.inputs import Inputs
    from stages.tracked import log_evaluation, run_tracker

    inputs = Inputs("evaluate", params_file)
    place = Place.of(params, "evaluate")
    model = load_model(model_file, place.device)
    data = load_prepared(Layout().prepared)
    model.check_tokenizer(data.tokenizer, data.folder)
    training, target = Layout.around(model_file), Layout(out)
    history = read_history(training.history) if training is not None and training.history.is_file() else []
    with run_tracker(
        training.run if training is not None and history else None, mlflow=params.runtime.mlflow
    ) as tracker:
        report = evaluate_model(model, data, params.evaluate.overfit_gap, place)
        inputs.check()
        write_json(target.metrics("evaluate"), report.metrics())
        if history:
            plot_loss_curves(target.plots / "loss_curves.png", history)
        plot_loss_by_position(
            target.plots / "loss_by_position.png", report.train.split.by_position(), report.val.split.by_position()
        )
        log_evaluation(tracker, report.metrics(), history[-1].iteration if history else 0, target)
    for line in report.lines():
        say(line)


if __name__ == "__main__":
    main(app)
