"""The prepare stage: data/input.txt -> data/prepared, the tokenizer and the token ids of both splits."""

from pathlib import Path

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, read_params
from stages.showing import showing

app = new_app()


@app.command(cls=showing("prepare"))
def prepare(params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Turn the text into token ids. Writes a tokenizer, a train split and a val split to data/prepared."""
    params = read_params(params_file, settings).prepare

    from gptmodel.data.corpus import prepare as prepare_text
    from gptmodel.data.manifest import documents_of
    from gptmodel.files import write_json
    from gptmodel.project.inputs import Inputs

    text, layout = Layout().text, Layout(out)
    inputs = Inputs("prepare", params_file, measured=text)
    report = prepare_text(text, layout.prepared, params, project_root())
    documents = documents_of(report.text_sha256, Layout().metrics("fetch"))
    inputs.check(report.text_sha256)
    write_json(layout.metrics("prepare"), report.metrics(documents))
    is_less = params.vocab_size is not None and report.vocab_size < params.vocab_size
    less = f" of {params.vocab_size}, since no pair is left to be joined" if is_less else ""
    mark = "; its byte order mark is left out" if report.mark_left_out else ""
    test = f", {report.test_tokens:,} test tokens" if report.test_tokens else ""
    tell(
        f"{layout.prepared}: {report.train_tokens:,} train and {report.val_tokens:,} val tokens{test} "
        f"({report.tokenizer}, vocab_size {report.vocab_size}{less}) from {report.bytes:,} bytes of {text} "
        f"(sha256 {report.text_sha256[:12]}){mark}"
    )


if __name__ == "__main__":
    main(app)
