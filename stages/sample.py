"""The sample stage: samples/samples.txt and metrics/memorisation.json. A model asked by hand writes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gptmodel.project.layout import Layout
from stages.command import main, new_app, say, tell
from stages.copies import tell_copies
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
from stages.prompt import PromptArgument, PromptFileOption, PromptOption, prompt_text, read_prompt
from stages.showing import showing

app = new_app()


@app.command(cls=showing("sample"))
def sample(
    word: PromptArgument = None,
    params_file: ParamsOption = PARAMS_FILE,
    settings: SettingsOption = None,
    out: OutOption = Path(),
    model_file: ModelOption = MODEL_FILE,
    prompt: PromptOption = None,
    prompt_file: PromptFileOption = None,
) -> None:
    """Continue a prompt with the trained model. Writes samples/samples.txt; with options it prints only."""
    trial = is_trial(params_file, settings, out, model_file != MODEL_FILE, word, prompt, prompt_file)
    params = read_params(params_file, settings, trial=trial, model_file=model_file)
    given = read_prompt(params.sample.prompt, word, prompt, prompt_file)

    from gptmodel.checkpoint.model_file import load_model
    from gptmodel.compute.place import Place
    from gptmodel.files import atomic_write
    from gptmodel.project.inputs import Inputs
    from gptmodel.sampling.generate import sample_pieces
    from gptmodel.sampling.incremental import IncrementalModel
    from stages.tracked import run_tracker

    inputs = None if trial else Inputs("sample", params_file)
    place, target = Place.of(params, "sample"), Layout(out)
    reader = IncrementalModel(model := load_model(model_file, place.device))
    beginning = prompt_text(given, prompt_file, model.tokenizer, params.sample)
    training = None if trial else Layout.around(model_file)
    writes = not trial or target != Layout()
    with run_tracker(training.run if training is not None else None, mlflow=params.runtime.mlflow) as tracker:
        prompts, texts = _shown(sample_pieces(reader, beginning, params.sample), tell if writes else say)
        if inputs is not None:
            inputs.check()
        if writes:
            joined = "\n\n".join(f"--- sample {n} of {len(texts)} ---\n{t}" for n, t in enumerate(texts, start=1))
            atomic_write(target.samples, f"{joined}\n".encode())
            tracker.log_artifact(target.samples, "samples")
        if not trial:
            tell_copies(model, prompts, texts, target, tracker)


def _shown(growing: Iterator[list[str]], show: Callable[..., None]) -> tuple[list[str], list[str]]:
    """Return the prompts and the samples of which pieces come, and show the samples: the first while it grows."""
    prompts = texts = next(growing)
    show(texts[0], end="")
    for pieces in growing:
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        show(pieces[0], end="")
    show()
    for number, text in enumerate(texts[1:], start=2):
        show(f"\n--- sample {number} of {len(texts)} ---\n{text}\n", end="")
    return prompts, texts


if __name__ == "__main__":
    main(app)
