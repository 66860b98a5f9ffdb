"""A teacher beside the text: counts of n-grams, which say what else could have come next.

A text shows one of many tokens that could follow. Here the network learns from a mixture of that one and of what a
Kneser-Ney model predicts (Hinton et al. 2015, Distilling the Knowledge in a Neural Network). Counts of a passage itself
would only repeat it, so each half of the train split is taught by the counts of the other.

Shapes: B batch, T time, V vocab.
"""

import numpy as np
import torch
from torch import Tensor

from gptmodel.config import TrainParams
from gptmodel.data.batches import Ids, training_starts
from gptmodel.kneser_ney import KneserNey


class Teacher:
    """Counts of n-grams of up to `train.teacher_order` tokens, in each half of the train split `ids` (n,)."""

    def __init__(self, train: TrainParams, vocab_size: int, ids: Ids) -> None:
        self._train, self._vocab_size = train, vocab_size
        counted = ids.cpu() if isinstance(ids, Tensor) else torch.from_numpy(ids.astype(np.int64))  # (n,)
        self._tokens, (first, second) = len(ids), counted.tensor_split(2)
        self._middle = len(first)
        order, share = train.teacher_order, train.teacher_share
        self._by_first, self._by_second = (KneserNey.count(order, vocab_size, share, half) for half in (first, second))

    def taught(self, batch: tuple[Tensor, Tensor], iteration: int) -> tuple[Tensor, Tensor]:
        """Return the batch of an iteration with targets that are probabilities: idx (B, T), targets (B, T, V).

        A sequence is taught by the half that it does not start in, also where it crosses the middle of the text.
        `train.teacher_share` of a target is the teacher's, the rest is the token that came, batch[1] (B, T).
        """
        idx, came = batch
        train, (B, T) = self._train, idx.shape
        starts = torch.from_numpy(training_starts(self._tokens, train.seed, iteration, B, T))  # (B,)
        predicted = torch.empty(B, T, self._vocab_size)
        for teacher, rows in ((self._by_second, starts < self._middle), (self._by_first, starts >= self._middle)):
            if rows.any():
                predicted[rows] = teacher.probabilities(idx.cpu()[rows])
        share = train.teacher_share
        targets = predicted.mul_(share).scatter_add_(2, came.cpu().unsqueeze(2), torch.full((B, T, 1), 1.0 - share))
        return idx, targets.to(idx.device)
