"""What a trained model is to everybody else: a transformer, the counts mixed into its predictions, and its tokenizer.

Shapes: B batch, T time, V vocab.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.errors import CheckpointError
from gptmodel.kneser_ney import KneserNey
from gptmodel.nn.transformer import TransformerModel
from gptmodel.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A model of the next token, with all that is needed to use it."""

    transformer: TransformerModel
    tokenizer: Tokenizer
    counts: KneserNey | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Digests of the data it was trained on, platform fingerprint and settings of the training."""

    @property
    def params(self) -> ModelParams:
        """The sizes and switches of the transformer."""
        return self.transformer.params

    def predict(self, idx: Tensor) -> Tensor:
        """Map token ids (B, T), T at most block_size, to the logits of each next token (B, T, V), counts mixed in."""
        return self.predictions(idx)[-1]

    def predictions(self, idx: Tensor) -> list[Tensor]:
        """Map token ids (B, T) to what the transformer predicts alone and, last, what it does with counts if any."""
        logits: Tensor = self.transformer(idx)  # (B, T, V)
        if self.counts is None:
            return [logits]
        return [logits, self.counts.mixed(logits, self.counts.probabilities(idx))]

    def check_tokenizer(self, tokenizer: Tokenizer, folder: Path) -> None:
        """Raise CheckpointError unless the token ids in `folder` mean what the model learnt."""
        if tokenizer.digest != self.tokenizer.digest:
            mend = "run `dvc repro`, or give `gptmodel evaluate` a text by --data"
            raise CheckpointError(f"the model was trained with another tokenizer than the one in {folder}; {mend}")
