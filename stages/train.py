"""The train stage: data/prepared -> models/model.pth, its metrics, its history and its MLflow run."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, note, tell
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, is_trial, read_params, showing

if TYPE_CHECKING:
    from gptmodel.config import TrainParams
    from gptmodel.training.run import TrainResult

app = new_app()


@app.command(cls=showing("model", "train", "runtime"))
def train(params_file: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Train the model on data/prepared. Writes models/model.pth; a run that was stopped or killed goes on."""
    trial = out != Path() and is_trial(params_file, settings, out)
    params = read_params(params_file, settings, trial=trial)
    if trial:
        note(f"note: this training writes below {out} only, its snapshots too, and is not tracked")

    from gptmodel.data.prepared import load_prepared
    from gptmodel.errors import CompileError, Interrupted
    from gptmodel.project.inputs import Inputs
    from gptmodel.training.loop import Hooks, fit
    from gptmodel.training.run import TrainingRun
    from stages.progress import Reporter
    from stages.stopping import StopSignals
    from stages.tracked import log_training, training_tracker

    inputs, target = Inputs("train", params_file), Layout(out)
    data = load_prepared(Layout().prepared)
    runs = (out if trial else project_root()) / "runs"
    with StopSignals() as stop, TrainingRun.open(runs, data, params, project_root()) as run:
        for line in run.introduction():
            note(line)
        if run.place.not_compiled:
            stop.check()  # it may have been Ctrl-C that ended the compiler
            note(f"train.compile = true is ignored: {run.place.not_compiled}")
        with training_tracker(run, params, mlflow=params.runtime.mlflow and not trial) as tracker:
            # Under DVC, `dvc exp show` and `plots show` follow a training; by hand, the files stay those of the model.
            live = partial(run.write_metrics, target.metrics("train"), target.history)
            reporter = Reporter(tracker, params, run.state.iteration, live if "DVC_STAGE" in os.environ else None)
            hooks = Hooks(observer=reporter, save=run.save, stopped=lambda: stop.received is not None)
            with reporter.display(), stop.blamed(CompileError):  # Ctrl-C ends a compiler at work too
                finished = fit(run.state, run.splits, params, run.place, hooks)
            if not finished:
                assert stop.received is not None
                raise Interrupted(stop.received, run.stopped())
            inputs.check()
            result = run.finish(target.model, target.metrics("train"), target.history)
            log_training(tracker, result, target)
        run.forget()
    _tell(result, target.model, params.train)


def _tell(result: "TrainResult", model: Path, train: "TrainParams") -> None:
    early = f" of {train.max_iters:,}, after {train.patience} evaluations without a lower val loss"
    ended = early if result.iterations < train.max_iters else ""
    kept = "last estimate" if train.keep == "last" else f"kept the weights after iteration {result.kept_iteration:,}"
    tell(
        f"{model}: {result.parameters:,} parameters, {result.iterations:,} iterations{ended} "
        f"({result.tokens:,} tokens) in {result.seconds:.0f} s; {kept}, on up to {train.eval_iters:,} batches of "
        f"each split: train loss {result.train_loss:.4f}, val loss {result.val_loss:.4f} (evaluate scores every token)"
    )


if __name__ == "__main__":
    main(app)
