"""The fetch stage: puts the text at data/input.txt, and never over a text of the user's own."""

from pathlib import Path

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, read_params, showing

app = new_app()


@app.command(cls=showing("fetch"))
def fetch(params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Put the text to train on at data/input.txt."""
    params = read_params(params_file, settings).fetch

    from gptmodel.data.sources import fetch_text

    target = Layout(out).text
    report = fetch_text(params.source, params.sha256, target, Layout(project_root()).text)
    action = "written" if report.written else "left as it is"
    tell(f"{target}: {report.bytes:,} bytes from {report.source}, {action} (sha256 {report.sha256[:12]})")


if __name__ == "__main__":
    main(app)
