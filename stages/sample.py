"""The sample stage: models/model.pth and data/prepared -> samples/samples.txt and metrics/memorisation.json."""

from pathlib import Path
from typing import Annotated

import typer

from gptmodel.project.layout import Layout
from stages.command import main, new_app, say
from stages.copies import tell_copies
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
from stages.prompt import prompt_text, read_prompt

app = new_app()

PromptOption = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Replaces sample.prompt.")]
PromptFileOption = Annotated[
    Path | None,
    typer.Option("--prompt-file", metavar="FILE", help="Read the prompt from a file; - is standard input."),
]


@app.command(cls=showing("sample"))
def sample(
    params_file: ParamsOption = PARAMS_FILE,
    settings: SettingsOption = None,
    out: OutOption = Path(),
    model_file: ModelOption = MODEL_FILE,
    prompt: PromptOption = None,
    prompt_file: PromptFileOption = None,
) -> None:
    """Continue a prompt with the trained model. Shows the first sample as it grows; writes samples/samples.txt."""
    params = read_params(params_file, settings)
    given = read_prompt(params.sample.prompt, prompt, prompt_file)

    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.files import atomic_write
    from gptmodel.project.inputs import Inputs
    from gptmodel.sampling.generate import sample_pieces
    from stages.tracked import run_tracker

    inputs, target = Inputs("sample", params_file), Layout(out)
    place = Place.of(params, "sample")
    model = load_model(model_file, place.device)
    beginning = prompt_text(given, prompt_file, model.tokenizer, params.sample)
    training = Layout.around(model_file)
    with run_tracker(training.run if training is not None else None, mlflow=params.runtime.mlflow) as tracker:
        growing = sample_pieces(model, beginning, params.sample, place)
        prompts = texts = next(growing)
        say(texts[0], end="")
        for pieces in growing:
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
            say(pieces[0], end="")
        say()
        for number, continuation in enumerate(texts[1:], start=2):
            say(f"\n--- sample {number} of {len(texts)} ---\n{continuation}")
        inputs.check()
        joined = "\n\n".join(f"--- sample {n} of {len(texts)} ---\n{t}" for n, t in enumerate(texts, start=1))
        atomic_write(target.samples, f"{joined}\n".encode())
        tracker.log_artifact(target.samples, "samples")
        if training == Layout():
            tell_copies(model, prompts, texts, target, tracker)


if __name__ == "__main__":
    main(app)
