"""The fetch stage: puts the text at data/input.txt, and never over a text of the user's own."""

from contextlib import closing
from pathlib import Path

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, note, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, read_params
from stages.showing import showing

app = new_app()


@app.command(cls=showing("fetch", reads=("prepare.val_source", "train.init_from")))
def fetch(params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Put the text to train on at data/input.txt."""
    params = read_params(params_file, settings)

    from gptmodel.address import without_password
    from gptmodel.data.sources import fetch_text
    from gptmodel.files import digest
    from gptmodel.project.inputs import text_in_lock
    from stages.download_progress import DownloadReporter

    layout, root = Layout(out), project_root()
    with closing(DownloadReporter(without_password(params.fetch.source), params.runtime.progress)) as reporter:
        val_source, init_from = params.prepare.val_source, params.train.init_from
        report = fetch_text(params.fetch, layout, root, reporter, val_source, init_from)
    for line in report.notes:
        note(f"note: {line}")
    for source in report.unwatched:
        mend = "after a change of it, run `dvc repro --force`"
        note(f"warning: no link to {source} can be made here, so DVC does not see when it changes; {mend}")
    in_a_folder_of_its_own = Path.cwd().resolve() != root.resolve()
    if in_a_folder_of_its_own and text_in_lock(params.fetch.source) not in (None, digest(layout.text, "md5")):
        name = layout.text if report.source == "own" else report.source
        now = f"this experiment trains on it as it is now (sha256 {report.sha256[:12]})"
        note(f"note: the text at {name} has changed since dvc.lock was written; {now}")
    files = f" ({report.documents:,} files)" if report.documents > 1 else ""
    action = "written" if report.written else "left as it is"
    tell(f"{layout.text}: {report.bytes:,} bytes from {report.source}{files}, {action} (sha256 {report.sha256[:12]})")


if __name__ == "__main__":
    main(app)
