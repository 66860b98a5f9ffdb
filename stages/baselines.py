"""The baselines stage: data/prepared -> metrics/baselines.json, what simpler methods make of the same text."""

from pathlib import Path

from gptmodel.project.layout import Layout
from stages.command import main, new_app, note, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, read_params
from stages.showing import showing

app = new_app()


@app.command(cls=showing())
def baselines(
    params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()
) -> None:
    """Measure what counting and compressors make of the val split. Writes bits per byte to metrics/baselines.json."""
    read_params(params_file, settings)  # none of them changes anything here, but a wrong one is told
    from gptmodel.data.prepared import VAL, load_prepared
    from gptmodel.evaluation.baselines import DIGEST, line_on_repeated, measure, name_of, repeated_in_train
    from gptmodel.files import write_json
    from gptmodel.project.inputs import Inputs

    inputs = Inputs("baselines", params_file)
    data = load_prepared(Layout().prepared)
    bits, left_out = measure(data)
    repeated = repeated_in_train(data)
    inputs.check()
    told = {**bits, **repeated, DIGEST: data.digests()[VAL]}
    write_json(Layout(out).metrics("baselines"), told, in_order=True)
    tell("bits per byte of the val split: " + ", ".join(f"{name_of(key)} {value:.2f}" for key, value in bits.items()))
    if repeated:
        tell(line_on_repeated(repeated))
    for key, reason in left_out.items():
        note(f"{name_of(key)} left out: {reason}")


if __name__ == "__main__":
    main(app)
