"""What each stage hands to the tracker: settings, tags, data, final metrics and files."""

import getpass
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptmodel.address import without_password
from gptmodel.errors import Interrupted
from gptmodel.files import digest, remove_leftovers, write_json
from gptmodel.project.git import git_tags
from gptmodel.project.inputs import text_digest
from gptmodel.project.layout import Layout, project_root
from gptmodel.tracking.tracker import NullTracker, Status, Tracker
from stages.command import note
from stages.naming import name_by_changes
from stages.progress import log_row

if TYPE_CHECKING:
    from gptmodel.config import Params
    from gptmodel.training.run import TrainingRun, TrainResult


@contextmanager
def training_tracker(run: "TrainingRun", params: "Params", *, mlflow: bool) -> Iterator[Tracker]:
    """Track a training: the run ends FINISHED, FAILED or KILLED as the block does, and continues after a kill."""
    tracker: Tracker = NullTracker()
    if mlflow and run.place.world.is_first:
        from gptmodel.tracking.mlflow_tracker import start_run

        name = name_by_changes(Path.cwd(), params) or f"train-{run.folder.name[:8]}"  # equal inputs, equal names
        tracker = start_run(project_root(), params.runtime.experiment, run.journal_key, name)
    status: Status = "FAILED"
    try:
        _log_start(tracker, run, params)
        yield tracker
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        _close(tracker, status)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as containers have
        return str(os.getuid())


def _log_start(tracker: Tracker, run: "TrainingRun", params: "Params") -> None:
    settings = {
        f"{section}.{key}": json.dumps(value) if isinstance(value, list) else value
        for section in ("prepare", "model", "train")
        for key, value in getattr(params, section).model_dump(mode="json").items()
    }
    tracker.log_params({**settings, "vocab_size": run.data.tokenizer.vocab_size, "parameters": run.parameters})
    md5 = {f"data.{Path(name).stem}.md5": value for name, value in run.data.digests("md5").items()}
    platform = {f"platform.{key}": value for key, value in run.place.fingerprint.items()}
    mlflow_tags = {"mlflow.user": _user(), "mlflow.source.name": "stages/train.py"}
    source = without_password(params.fetch.source)
    text = {"fetch.source": source, "text.sha256": text_digest()}
    tracker.set_tags({**git_tags(Path.cwd()), **md5, **platform, **mlflow_tags, **text})
    tokens = len(run.data.train.ids) + len(run.data.val.ids)
    if run.decisive.initial is not None:
        tracker.set_tags({"init_from.sha256": run.decisive.initial.sha256})
    for row in run.state.history:  # of a shorter training too, that this one goes on from; none is tracked twice
        log_row(tracker, row)
    tracker.log_dataset(
        name=source,
        digest=run.data.digests()["train.bin"][:36],
        source=str(Layout().text),
        tags={"tokenizer": run.data.tokenizer.kind, "tokens": str(tokens)},
    )
    tracker.flush()


def log_training(tracker: Tracker, result: "TrainResult", layout: Layout) -> None:
    """Track what training made, and write run.json, by which evaluate and sample find the run again."""
    final = {"final/seconds": result.seconds, "final/tokens_per_second": result.tokens_per_second}
    final["final/iterations"] = result.iterations
    if result.kept_iteration is not None:
        final["final/kept_iteration"] = result.kept_iteration
    tracker.log_metrics(final, step=result.iterations)
    tracker.set_tags({"model.md5": digest(layout.model, "md5")})
    tracker.log_artifact(layout.model, "model")
    tracker.log_artifact(layout.history, "metrics")
    remove_leftovers(layout.run)
    write_json(layout.run, tracker.describe())


@contextmanager
def run_tracker(run_json: Path | None, *, mlflow: bool) -> Iterator[Tracker]:
    """Add to the run of a trained model, leaving its status and times alone; a model that stands alone has none."""
    tracker: Tracker = NullTracker()
    if mlflow and run_json is not None and run_json.is_file():
        tracker = _attached(run_json)
    try:
        yield tracker
    finally:
        _close(tracker, None)


def log_evaluation(
    tracker: Tracker, metrics: Mapping[str, Any], lines: Sequence[str], iterations: int, layout: Layout
) -> None:
    """Track the whole-split losses after that many iterations, verdict, plots, and `lines` as the run's note."""
    values = {
        f"eval/{split}_{key}": metrics[split][key]
        for split in ("train", "val")
        for key in ("loss", "perplexity", "bits_per_byte")
    }
    values |= {f"eval/{key}": metrics[key] for key in ("gap", "counting_loss")}
    values |= {f"eval/network_{key}": value for key, value in metrics.get("network", {}).items()}
    tracker.log_metrics(values, step=iterations)
    tracker.set_tags({"verdict": metrics["verdict"], "mlflow.note.content": "\n\n".join(lines)})
    tracker.log_artifact(layout.plots, "plots")
    for path in (layout.val_losses, layout.passages):
        tracker.log_artifact(path, "evaluation")
    tracker.log_artifact(layout.metrics("evaluate"), "metrics")


def _attached(run_json: Path) -> Tracker:
    from gptmodel.tracking.mlflow_tracker import attach, read_description

    description = read_description(run_json)
    return NullTracker() if description.get("journal") is None else attach(project_root(), description)


def _close(tracker: Tracker, status: Status | None) -> None:
    tracker.close(status)
    if tracker.problem:
        note(f"warning: {tracker.problem}")
