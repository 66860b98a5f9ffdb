"""The evaluate stage: models/model.pth and data/prepared -> metrics/evaluate.json and plots/."""

from pathlib import Path

import typer

from gptmodel.project.layout import Layout
from stages.command import main, new_app
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
    params: ParamsOption = PARAMS_FILE,
    settings: SettingsOption = None,
    out: OutOption = Path(),
    model: ModelOption = MODEL_FILE,
) -> None:
    """Score every token of both splits once and say whether the model overfits, underfits or is healthy."""
    chosen = read_params(params, settings)

    from gptmodel.checkpoint.model_file import load_checkpoint
    from gptmodel.compute.place import crew_of, pick_device
    from gptmodel.data.prepared import load_prepared
    from gptmodel.evaluation.history import read_history
    from gptmodel.evaluation.plots import plot_loss_by_position, plot_loss_curves
    from gptmodel.evaluation.report import evaluate_model
    from gptmodel.files import write_json
    from gptmodel.project.inputs import Inputs
    from stages.tracked import log_evaluation, run_tracker

    inputs = Inputs("evaluate", params)
    device = pick_device(chosen.evaluate.device, "evaluate.device")
    crew = crew_of(chosen.evaluate.threads, device)
    checkpoint = load_checkpoint(model, device)
    data = load_prepared(Layout().prepared)
    checkpoint.check_tokenizer(data.tokenizer, data.folder)
    source, target = Layout(model.parent.parent), Layout(out)
    with run_tracker(source.run, mlflow=chosen.runtime.mlflow) as tracker:
        history = read_history(source.history)
        report = evaluate_model(checkpoint.model, data, device, chosen.evaluate.overfit_gap, crew)
        inputs.check()
        write_json(target.metrics("evaluate"), report.metrics())
        plot_loss_curves(target.plots / "loss_curves.png", history)
        plot_loss_by_position(
            target.plots / "loss_by_position.png", report.train.split.by_position(), report.val.split.by_position()
        )
        log_evaluation(tracker, report.metrics(), history[-1].iteration, target)
    for line in report.lines():
        typer.echo(line)


if __name__ == "__main__":
    main(app)
