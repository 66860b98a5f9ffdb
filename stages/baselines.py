"""The baselines stage: data/prepared -> metrics/baselines.json, what simpler methods make of the same text."""

from pathlib import Path

from gptmodel.project.layout import Layout
from stages.command import main, new_app, note, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, read_params

app = new_app()


@app.command()
def baselines(
    params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()
) -> None:
    """Measure what counting and compressors make of the val split. Writes bits per byte to metrics/baselines.json."""
    read_params(params_file, settings)  # none of them changes anything here, but a wrong one is told
    from gptmodel.data.prepared import VAL, load_prepared
    from gptmodel.evaluation.baselines import DIGEST, REPEATED, measure, name_of, text_bytes
    from gptmodel.evaluation.repetition import repeated_share, sentence
    from gptmodel.files import write_json
    from gptmodel.project.inputs import Inputs

    inputs = Inputs("baselines", params_file)
    data = load_prepared(Layout().prepared)
    bits, left_out = measure(data)
    share = round(repeated_share(text_bytes(data, data.train.ids), text_bytes(data, data.val.ids)), 4)
    inputs.check()
    told = {**bits, REPEATED: share, DIGEST: data.digests()[VAL]}
    write_json(Layout(out).metrics("baselines"), told, in_order=True)
    tell("bits per byte of the val split: " + ", ".join(f"{name_of(key)} {value:.2f}" for key, value in bits.items()))
    tell(sentence(share))
    for key, reason in left_out.items():
        note(f"{name_of(key)} left out: {reason}")


if __name__ == "__main__":
    main(app)
