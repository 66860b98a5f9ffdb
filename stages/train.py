"""The train stage: data/prepared -> models/model.pth, its metrics, its history and its MLflow run."""

from contextlib import ExitStack
from pathlib import Path

import typer

from stages.command import (
    PARAMS_FILE,
    Layout,
    OutOption,
    ParamsOption,
    SettingsOption,
    main,
    new_app,
    note,
    project_root,
    read_params,
    showing,
)

app = new_app()


@app.command(cls=showing("model", "train", "runtime"))
def train(params: ParamsOption = PARAMS_FILE, settings: SettingsOption = None, out: OutOption = Path()) -> None:
    """Train the model on data/prepared and write models/model.pth. A run that was stopped or killed goes on."""
    chosen = read_params(params, settings)

    from gptmodel.data.prepared import load_prepared
    from gptmodel.determinism import pick_device, pick_dtype, use_threads
    from gptmodel.errors import Interrupted
    from gptmodel.training.loop import Conditions, fit
    from gptmodel.training.run import TrainingRun
    from stages.progress import Reporter
    from stages.stopping import StopSignals
    from stages.tracked import log_training, training_tracker

    use_threads(chosen.train.threads)
    device = pick_device(chosen.train.device, "train.device")
    dtype = pick_dtype(chosen.train.dtype, device)
    data = load_prepared(Layout().prepared)
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignals())
        run = stack.enter_context(TrainingRun.open(project_root() / "runs", data, chosen, device, dtype))
        note(run.summary())
        tracker = stack.enter_context(training_tracker(run, chosen))
        reporter = Reporter(
            chosen.runtime.progress, tracker, run.state.iteration, chosen.train.max_iters, run.tokens_per_iteration
        )
        conditions = Conditions(
            train_data=data.train.ids,
            val_data=data.val.ids,
            params=chosen.train,
            device=device,
            dtype=dtype,
            observer=reporter,
            save=run.save,
            snapshot_seconds=chosen.runtime.snapshot_seconds,
            stopped=lambda: stop.received is not None,
        )
        with reporter.shown():
            finished = fit(run.state, conditions)
        if not finished:
            assert stop.received is not None
            raise Interrupted(
                stop.received,
                f"stopped at iteration {run.state.iteration}; the state is saved, run the same command to go on",
            )
        result = run.finish(Layout(out).model, Layout(out).metrics("train"), Layout(out).history)
        log_training(tracker, result, Layout(out))
    run.forget()
    typer.echo(
        f"{Layout(out).model}: {result.parameters:,} parameters, {result.iterations:,} iterations "
        f"({result.tokens:,} tokens) in {result.seconds:.0f} s; "
        f"train loss {result.train_loss:.4f}, val loss {result.val_loss:.4f}"
    )


if __name__ == "__main__":
    main(app)
