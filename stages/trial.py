"""One trial of a study: an ordinary training, which its study may stop."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gptmodel.data.prepared import PreparedData
from gptmodel.errors import AlreadyRunning, CompileError, Interrupted
from gptmodel.files import atomic_write
from gptmodel.project.layout import STUDY_MARK, project_root
from gptmodel.training.loop import Hooks, can_be_longer, fit
from gptmodel.training.run import TrainingRun
from gptmodel.tuning.trial import Trial
from stages.command import note, tell
from stages.progress import Reporter
from stages.stopping import StopSignals
from stages.tracked import training_tracker

if TYPE_CHECKING:
    from gptmodel.config import Params

WAIT_SECONDS = 1.0  # between two looks at a training of the same settings, by hand


def train(trial: Trial, params: "Params", data: PreparedData, stop: StopSignals, study: str) -> float:
    """Train a trial to its end, or until its study stops it, and return its last val loss.

    Its state is kept: of a complete one, for the pipeline, of a stopped one, to go on from. Interrupted by a signal,
    it is kept too.
    """
    with trial.under_way(), _opened(trial, params, data, stop) as run:
        trial.begin(run.folder.name)
        atomic_write(run.folder / STUDY_MARK, study.encode())

        def report() -> None:
            losses = [(row.iteration, row.val_loss) for row in run.state.history]
            trial.report(losses, params.train.max_iters)

        with training_tracker(run, params, mlflow=params.runtime.mlflow) as tracker:
            tracker.set_tags({"gptmodel.study": study, "gptmodel.trial": str(trial.number)})
            reporter = Reporter(tracker, params, run.state.iteration, report, lines=False)
            report()  # of a trial that is tried again, what its snapshot holds
            stopped = lambda: stop.received is not None or trial.is_over  # noqa: E731
            with reporter.display(), stop.blamed(CompileError):
                hooks = Hooks(observer=reporter, save=run.save, stopped=stopped)
                finished = fit(run.state, run.splits, params, run.place, hooks)
            if stop.received is not None and not finished and not trial.is_over:
                raise Interrupted(stop.received, f"trial {trial.number}: {run.stopped()}")
            if finished and not can_be_longer(params.train):  # else it is saved as a longer one would have been
                run.save(run.state)
            tracker.close("KILLED" if trial.is_over else "FINISHED")
        loss = run.state.history[-1].val_loss
        tell(f"trial {trial.number}: {trial.outcome} at iteration {run.state.iteration:,}, val loss {loss:.4f}")
    return loss


@contextlib.contextmanager
def _opened(trial: Trial, params: "Params", data: PreparedData, stop: StopSignals) -> Iterator[TrainingRun]:
    """Open the run of a trial, after another process that trains the same by hand."""
    is_waiting = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                run = stack.enter_context(TrainingRun.open(project_root() / "runs", data, params))
                break
            except AlreadyRunning:
                if not is_waiting:
                    note(f"trial {trial.number}: waits for another process that trains the same")
                is_waiting = True
                stop.check()
                time.sleep(WAIT_SECONDS)
        yield run
