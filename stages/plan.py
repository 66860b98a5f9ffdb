"""What a run of the current settings will take: parameters, memory, disk and minutes, before anything starts."""

import time

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, note, say
from stages.options import PARAMS_FILE, ParamsOption, SettingsOption
from stages.showing import showing

MEASURE_SECONDS = 3.0

app = new_app()


@app.command(cls=showing("model", "train", "runtime", reads=("fetch", "prepare", "evaluate", "sample")))
def plan(params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None) -> None:
    """Estimate what a run of these settings will take. Measures for a few seconds, and writes nothing."""
    from gptmodel.ignored_settings import ignored_settings
    from gptmodel.params_file import load_params

    params = load_params(params_file, settings or ())
    for line in ignored_settings(params):
        note(f"warning: {line}")

    import psutil  # type: ignore[import-untyped]

    from gptmodel.data.corpus import check_splits
    from gptmodel.planning.measure import measure
    from gptmodel.planning.plan import make_plan
    from gptmodel.planning.table import table
    from gptmodel.planning.text import find_text
    from gptmodel.training.initial import initial_model

    layout = Layout()
    text = find_text(params.fetch, params.prepare, layout.prepared, layout.text)
    check_splits(text.train_tokens, text.val_tokens, params.model.block_size)
    start = time.time() - psutil.Process().create_time()
    initial_model(params, text.tokenizer if text.is_there else None, project_root())  # train would refuse it, too
    note("measuring a few iterations and evaluation passes; run nothing else meanwhile")
    measured = measure(params, text, MEASURE_SECONDS)
    for line in table(params, text, measured, make_plan(params, text, measured, start), project_root()):
        say(line)


if __name__ == "__main__":
    main(app)
