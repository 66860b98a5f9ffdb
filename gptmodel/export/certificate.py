"""What an exported model computes, set beside what the model itself computes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gptmodel.compute.random import Stream, torch_generator
from gptmodel.export.form import Compared
from gptmodel.language_model import LanguageModel
from gptmodel.sampling.incremental import IncrementalModel

TEXTS, SEED = 8, 1337


@dataclass(frozen=True)
class Certificate:
    """How far what an exported model computes is from what the model itself does, and how its greedy text goes."""

    compared: Compared
    largest_difference: float
    mean_difference: float
    largest_log_probability_difference: float
    largest_logit: float
    greedy_tokens: int
    greedy_tokens_same: int

    @classmethod
    def of(cls, compared: Compared, own: Iterable[Tensor], exported: Tensor, first: int, start: int) -> "Certificate":
        """Compare the logits of texts, (T, V) each, with what the exported model has (B, n, V) from `first` on.

        One text after the other: those of all together may be gigabytes.
        The texts are the model's own greedy ones from token `start` on: where both find the same token likeliest, the
        exported model goes on with the same text.
        """
        rows = []
        for logits, other in zip(own, exported, strict=True):
            mine = logits[first : first + len(other)]  # (n, V)
            of_probabilities = (mine.log_softmax(-1) - other.log_softmax(-1)).abs()
            difference = (mine - other).abs() if compared == "logits" else of_probabilities
            greedy = (mine.argmax(-1) == other.argmax(-1))[max(0, start - 1 - first) :]
            largest = [each.max().item() for each in (difference, of_probabilities, mine.abs())]
            rows.append([*largest, difference.mean().item(), len(greedy), int(greedy.sum())])
        table = torch.tensor(rows, dtype=torch.float64)  # (B, 6)
        largest = table.amax(0).tolist()  # NaN where one is
        return cls(
            compared=compared,
            largest_difference=largest[0],
            mean_difference=table[:, 3].mean().item(),
            largest_log_probability_difference=largest[1],
            largest_logit=largest[2],
            greedy_tokens=int(table[:, 4].sum()),
            greedy_tokens_same=int(table[:, 5].sum()),
        )

    def within(self, limit: float) -> bool:
        """Tell whether no log-probability differs by more than `limit`, and no logit by more than that of the largest.

        The logits of a position may have a large part in common, which takes of the digits that float32 has.
        """
        of_logits = self.largest_difference / max(1.0, self.largest_logit)
        return of_logits <= limit and self.largest_log_probability_difference <= limit  # which is false for NaN

    def values(self) -> dict[str, Any]:
        """Return what certificate.json says of it."""
        return {"texts": TEXTS, "seed": SEED, **asdict(self)}

    def words(self) -> str:
        """Return it in words."""
        words = f"{self.compared} differ by at most {self.largest_difference:.1e}"
        if self.compared == "logits":
            words += f" (the largest is {self.largest_logit:.1f}), log-probabilities by "
            words += f"{self.largest_log_probability_difference:.1e}"
        return f"{words}, {self.greedy_tokens_same} of {self.greedy_tokens} greedy tokens are the same"


def greedy_texts(model: LanguageModel) -> tuple[Tensor, int]:
    """Return ids (TEXTS, block_size), random ones first and then the model's likeliest, and how many are random."""
    T, V = model.params.block_size, model.tokenizer.vocab_size
    start = (T + 1) // 2
    idx = torch.empty(TEXTS, start, dtype=torch.int64).random_(0, V, generator=torch_generator(SEED, Stream.SAMPLING))
    reader = IncrementalModel(model)
    cache, new = reader.new_cache(TEXTS), idx
    while idx.size(1) < T:
        new = reader.next_logits(new, cache).argmax(-1, keepdim=True)  # (TEXTS, 1)
        idx = torch.cat((idx, new), dim=1)
    return idx, start
