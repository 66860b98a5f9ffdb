"""The files of an evaluation but for the pictures."""

from pathlib import Path

from gptmodel.data.prepared import VAL, PreparedData
from gptmodel.evaluation.loss import by_position_csv
from gptmodel.evaluation.report import EvaluationReport
from gptmodel.evaluation.spans import mark_of, write_losses
from gptmodel.files import atomic_write, digest, write_json
from gptmodel.project.layout import Layout


def write_outputs(report: EvaluationReport, target: Layout, model_file: Path, data: PreparedData) -> None:
    """Write metrics/evaluate.json, metrics/loss_by_position.csv and evaluation/ below `target`."""
    scores = report.scores
    write_json(target.metrics("evaluate"), report.metrics(), in_order=True)
    atomic_write(target.positions, by_position_csv(scores.train.loss, scores.val.loss).encode())
    write_losses(target.val_losses, scores.spans, mark_of(model_file, digest(data.folder / VAL)))
    write_json(target.passages, scores.passages)
