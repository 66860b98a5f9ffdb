"""The evaluation of a trained model: losses, their units, the verdict, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptmodel.compute.place import Place
from gptmodel.data.prepared import PreparedData
from gptmodel.evaluation.diagnosis import Diagnosis, Trend, advice, diagnose, trend
from gptmodel.evaluation.history import Evaluation
from gptmodel.evaluation.scores import Scores, SplitScore, score
from gptmodel.language_model import LanguageModel


@dataclass(frozen=True)
class EvaluationReport:
    """metrics/evaluate.json and what the plots need."""

    scores: Scores
    diagnosis: Diagnosis
    trend: Trend | None

    def metrics(self) -> dict[str, Any]:
        """Return the content of metrics/evaluate.json: what compares first, as DVC shows it in this order."""
        train, val = self.scores.train, self.scores.val
        alone = {"network": {"train_loss": train.network.mean, "val_loss": val.network.mean}}
        return {
            "val": val.metrics(),
            "gap": self.diagnosis.gap,
            "verdict": self.diagnosis.verdict,
            "counting_loss": self.scores.counting_loss,
            **(alone if self.scores.counted else {}),
            "train": train.metrics(),
        }

    def lines(self) -> list[str]:
        """Return the report as a person reads it: a line for each split, the verdict with its reasons, and advice."""
        lines = [_line("train", self.scores.train), _line("val", self.scores.val)]
        of = " of the network alone, as its counts have memorised the train split" if self.scores.counted else ""
        lines.append(f"{self.diagnosis.verdict}{of}: {self.diagnosis.explanation}")
        what_to_do = advice(self.diagnosis.verdict, self.trend.direction if self.trend else None)
        if self.trend:
            lines.append(f"{self.trend.explanation}; {what_to_do}")
        elif what_to_do:
            lines.append(what_to_do)
        return lines


def evaluate_model(
    model: LanguageModel,
    data: PreparedData,
    overfit_gap: float,
    place: Place,
    *,
    max_tokens: int | None = None,
    history: Sequence[Evaluation] = (),
) -> EvaluationReport:
    """Score both splits, or at most `max_tokens` of each, and judge the losses and the `history` of the training."""
    return judge(score(model, data, place, max_tokens), overfit_gap, history)


def judge(scores: Scores, overfit_gap: float, history: Sequence[Evaluation] = ()) -> EvaluationReport:
    """Judge a model by the losses of its network alone: counts know the train split by heart."""
    train_loss, val_loss = scores.train.network.mean, scores.val.network.mean
    diagnosis = diagnose(train_loss, val_loss, scores.counting_loss, overfit_gap)
    return EvaluationReport(scores, diagnosis, trend(history))


def _line(name: str, split: SplitScore) -> str:
    metrics = split.metrics()
    scored = f"{split.loss.tokens:,} tokens, each scored once"
    if split.loss.tokens < split.tokens:
        scored = f"{split.loss.tokens:,} of {split.tokens:,} tokens, spread evenly"
    return (
        f"{name:<5} loss {metrics['loss']:.4f}  perplexity {metrics['perplexity']:.3f}  "
        f"bits per byte {metrics['bits_per_byte']:.4f}  ({scored})"
    )
