"""The evaluate stage: models/model.pth and data/prepared -> metrics/evaluate.json and plots/."""

from pathlib import Path

from gptmodel.errors import ConfigError
from stages.command import main, new_app
from stages.judgement import judge_model
from stages.options import (
    MODEL_FILE,
    PARAMS_FILE,
    ModelOption,
    OutOption,
    ParamsOption,
    SettingsOption,
    is_trial,
    read_params,
)
from stages.showing import showing
from stages.text_score import DataOption, TestOption, evaluate_text

app = new_app()


@app.command(cls=showing("evaluate"))
def evaluate(
    params_file: ParamsOption = PARAMS_FILE,
    settings: SettingsOption = None,
    out: OutOption = Path(),
    model_file: ModelOption = MODEL_FILE,
    text: DataOption = None,
    test: TestOption = False,
) -> None:
    """Score every token of both splits once. Says whether the model overfits, underfits or is healthy."""
    trial = is_trial(params_file, settings, out, model_file != MODEL_FILE, text, test)
    params = read_params(params_file, settings, trial=trial, model_file=model_file)
    if test and text is not None:
        raise ConfigError("--test and --data: each names a text to score; leave one of them out")
    if test or text is not None:
        evaluate_text(text, model_file, params, out)
    else:
        judge_model(None if trial else params_file, params, model_file, out)


if __name__ == "__main__":
    main(app)
