"""What an exported model computes, set beside what the model itself computes."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gptmodel.compute.random import Stream, torch_generator
from gptmodel.language_model import LanguageModel
from gptmodel.sampling.incremental import IncrementalModel

TEXTS, SEED = 8, 1337


@dataclass(frozen=True)
class Certificate:
    """How far the logits of an exported model are from the model's own, and how its greedy text goes."""

    largest_difference: float
    mean_difference: float
    greedy_tokens: int
    greedy_tokens_same: int

    @classmethod
    def of(cls, own: Tensor, exported: Tensor, first: int, start: int) -> "Certificate":
        """Compare logits (B, T, V) with exported ones (B, n, V) that begin at position `first`, as log-probabilities.

        The texts are the model's own greedy ones from token `start` on: where both find the same token likeliest, the
        exported model goes on with the same text.
        """
        own = own[:, first : first + exported.size(1)].log_softmax(-1)  # (B, n, V)
        difference = (own - exported.log_softmax(-1)).abs()
        same = own.argmax(-1) == exported.argmax(-1)  # (B, n)
        greedy = same[:, max(0, start - 1 - first) :]
        return cls(difference.max().item(), difference.mean().item(), greedy.numel(), int(greedy.sum()))

    def values(self) -> dict[str, Any]:
        """Return what certificate.json says of it."""
        return {"texts": TEXTS, "seed": SEED, **asdict(self)}

    def words(self) -> str:
        """Return it in words."""
        greedy = f"{self.greedy_tokens_same} of {self.greedy_tokens} greedy tokens are the same"
        return f"logits differ by at most {self.largest_difference:.1e}, {greedy}"


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
