"""The report stage: what the other stages found out -> reports/report.html."""

from pathlib import Path

from gptmodel.project.layout import Layout
from stages.command import main, new_app, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, is_trial, read_params, showing

app = new_app()


@app.command(cls=showing())
def report(params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Put all that was found out on one page. It has verdict, curves, samples, settings and digests."""
    trial = is_trial(params_file, settings, out)
    params = read_params(params_file, settings, trial=trial)

    from gptmodel.files import atomic_write
    from gptmodel.project.inputs import Inputs
    from gptmodel.reporting.findings import read_findings
    from gptmodel.reporting.report import report as page
    from stages.tracked import run_tracker

    inputs, source, target = Inputs("report", params_file), Layout(), Layout(out)
    content = page(read_findings(source)).encode()
    inputs.check()
    atomic_write(target.report, content)
    with run_tracker(None if trial else source.run, mlflow=params.runtime.mlflow) as tracker:
        tracker.log_artifact(target.report, "reports")
    tell(f"{target.report}: open it in a browser")


if __name__ == "__main__":
    main(app)
