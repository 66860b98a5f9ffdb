"""The report stage: what the other stages found out -> reports/report.html."""

from pathlib import Path

from gptmodel.project.layout import Layout
from stages.command import main, new_app, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, is_trial, read_params
from stages.showing import showing

app = new_app()
NEXT = (
    'next: `gptmodel sample "some text"` asks the model, `gptmodel serve` opens it in the browser, `gptmodel ui` shows '
    "the runs, and `dvc exp run -S model.position=rotary` changes one thing (README.md has more)"
)


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
    findings = read_findings(source)
    content = page(findings).encode()
    inputs.check()
    atomic_write(target.report, content)
    with run_tracker(None if trial else source.run, mlflow=params.runtime.mlflow) as tracker:
        tracker.log_artifact(target.report, "reports")
    val = findings.evaluation["val"]
    tell(f"{findings.evaluation['verdict']}: val loss {val['loss']:.4f}, {val['bits_per_byte']:.2f} bits per byte")
    tell(f"{target.report}: open it in a browser")
    tell(NEXT)


if __name__ == "__main__":
    main(app)
