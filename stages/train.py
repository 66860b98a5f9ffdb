"""The train stage: data/prepared -> models/model.pth, its metrics, its history and its MLflow run."""

import os
import signal
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gptmodel.project.layout import Layout, project_root
from stages.command import main, new_app, note
from stages.options import PARAMS_FILE, OutOption, ParamsOption, SettingsOption, is_trial, read_params
from stages.showing import showing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gptmodel.training.run import TrainingRun, TrainResult
    from stages.stopping import StopSignals

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
    from gptmodel.training.run_lock import locked
    from stages.progress import Reporter, tell_result
    from stages.ranks import are_to_start, as_words, run_ranks
    from stages.stopping import StopSignals
    from stages.tracked import log_training, training_tracker

    data = load_prepared(Layout().prepared)
    if are_to_start(params):
        run_ranks(params, data, as_words(params_file, settings, out))
        return
    inputs, target, runs = Inputs("train", params_file), Layout(out), (out if trial else project_root()) / "runs"
    with StopSignals() as stop, TrainingRun.open(runs, data, params, project_root()) as run:
        _announce(run, stop)
        with training_tracker(run, params, mlflow=params.runtime.mlflow and not trial) as tracker:
            reporter = Reporter(tracker, params, run.state.iteration, _live(run, target))
            hooks = Hooks(observer=reporter, save=run.save, stopped=lambda: stop.received is not None)
            with reporter.display(), stop.blamed(CompileError):  # Ctrl-C ends a compiler at work too
                finished = fit(run.state, run.splits, params, run.place, hooks)
            if not finished:  # another process may have had the signal
                raise Interrupted(stop.received or signal.SIGTERM, run.stopped())
            inputs.check()
            with locked(runs / "results.lock", wait=True) if run.place.world.is_first else nullcontext():
                if (result := run.finish(target.model, target.metrics("train"), target.history)) is None:
                    return
                log_training(tracker, result, target)
        run.forget()
    tell_result(result, target.model, params.train)


def _announce(run: "TrainingRun", stop: "StopSignals") -> None:
    for line in run.introduction():
        note(line)
    if run.place.not_compiled:
        stop.check()  # it may have been Ctrl-C that ended the compiler
        note(f"train.compile = true is ignored: {run.place.not_compiled}")


def _live(run: "TrainingRun", target: Layout) -> "Callable[[], TrainResult] | None":
    """Under DVC, `dvc exp show` and `plots show` follow a training; by hand, the files stay those of the model."""
    return partial(run.write_metrics, target.metrics("train"), target.history) if "DVC_STAGE" in os.environ else None


if __name__ == "__main__":
    main(app)
