"""The whole-split evaluation of a trained model: losses, their units, and the verdict."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.place import Place
from gptmodel.data.prepared import PreparedData, scored_bytes
from gptmodel.errors import DataError
from gptmodel.evaluation.diagnosis import Diagnosis, bigram_loss, diagnose
from gptmodel.evaluation.loss import SplitLoss, bits_per_byte, split_loss
from gptmodel.language_model import LanguageModel


@dataclass(frozen=True)
class SplitReport:
    """The loss of one split in its usual units."""

    split: SplitLoss
    bytes: int

    def metrics(self) -> dict[str, float]:
        """Return loss (nats per token), perplexity, bits per byte and the number of tokens scored."""
        return {
            "loss": self.split.mean,
            "perplexity": math.exp(min(self.split.mean, 700.0)),
            "bits_per_byte": bits_per_byte(self.split.total, self.bytes),
            "tokens": self.split.tokens,
        }


@dataclass(frozen=True)
class EvaluationReport:
    """metrics/evaluate.json and what the plots need."""

    train: SplitReport
    val: SplitReport
    bigram_loss: float
    diagnosis: Diagnosis
    counted: bool  # whether n-grams of the train split are mixed in

    def metrics(self) -> dict[str, Any]:
        """Return the content of metrics/evaluate.json."""
        return {
            "train": self.train.metrics(),
            "val": self.val.metrics(),
            "bigram_loss": self.bigram_loss,
            "gap": self.diagnosis.gap,
            "verdict": self.diagnosis.verdict,
        }

    def lines(self) -> list[str]:
        """Return the report as a person reads it: a line for each split, and the verdict with its reasons."""
        lines = [
            f"{name:<5} loss {split['loss']:.4f}  perplexity {split['perplexity']:.3f}  "
            f"bits per byte {split['bits_per_byte']:.4f}  ({split['tokens']:,} tokens, each scored once)"
            for name, split in (("train", self.train.metrics()), ("val", self.val.metrics()))
        ]
        lines.append(f"{self.diagnosis.verdict}: {self.diagnosis.explanation}")
        if self.counted:
            lines.append(
                "note: the counts of model.kneser_ney have memorised the train split, so its loss is too low and the "
                "verdict does not hold: judge by the val loss"
            )
        return lines


def evaluate_model(model: LanguageModel, data: PreparedData, overfit_gap: float, place: Place) -> EvaluationReport:
    """Score every token of both splits once, in blocks of the model's block_size, and judge the losses."""
    reports = []
    for tokens in (data.train, data.val):
        split = split_loss(model, tokens.ids, _token_losses, place)
        if split.tokens != len(tokens.ids) - 1:
            raise AssertionError(f"{split.tokens} tokens of {tokens.path} were scored, not {len(tokens.ids) - 1}")
        if not math.isfinite(split.total):
            raise DataError(f"{tokens.path}: the model's loss on it is {split.total}; train the model again")
        reports.append(SplitReport(split, scored_bytes(tokens.ids, data.tokenizer)))
    train, val = reports
    baseline = bigram_loss(data.train.ids, data.val.ids, data.tokenizer.vocab_size)
    diagnosis = diagnose(train.split.mean, val.split.mean, baseline, overfit_gap)
    return EvaluationReport(train, val, baseline, diagnosis, counted=model.counts is not None)


def _token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")
