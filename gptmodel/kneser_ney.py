"""A Kneser-Ney model of n-grams beside the transformer: what counting predicts, at next to no arithmetic.

Interpolated Kneser-Ney smoothing with three discounts an order (Kneser and Ney 1995; Chen and Goodman 1999). A mixture
of one with a neural model beats both, since they err in different places (Mikolov et al. 2011, Empirical Evaluation
and Combination of Advanced Language Modeling Techniques).

Shapes: B batch, T time, N positions, V vocab; G n-grams of an order, K contexts they have.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

DENSE = 1 << 21
"""Numbers in a table of whole distributions: contexts as few as this allows have theirs computed beforehand."""
LARGEST = 1 << 53
FALLBACK = (0.0, 0.5, 1.0, 1.5)
"""What is held back of a count of 0, 1, 2, and 3 or more where counts do not tell: KenLM's (Heafield et al. 2013)."""
NOWHERE = -1  # the context of a position that has too few ids


def longest_order(vocab_size: int) -> int:
    """Return the longest n-gram that is told from all others by a number of 63 bits."""
    return next(order for order in range(1, 64) if (vocab_size + 1) ** (order + 1) >= 1 << 63)


class KneserNey:
    """The probability of each next token by the counts of n-grams up to `order` in the training tokens.

    A position in the block has at most `order` - 1 ids of context, those of the block alone. `grams` and `counts` (G,)
    are the distinct n-grams of the longest order, as numbers in base V + 1, ascending, and how often each occurs: with
    V standing for what is before the first token, every shorter n-gram is the end of one of them. Without any, every
    token is as likely as another. `share` is the part of a mixture that the counts have. ValueError for an `order`
    above `longest_order`, and for n-grams that cannot be looked up.
    """

    def __init__(self, order: int, vocab_size: int, share: float, grams: Tensor, counts: Tensor) -> None:
        if order > longest_order(vocab_size):
            raise ValueError(f"n-grams of {order} are too long for a vocabulary of {vocab_size}")
        self.order, self.base, self.share = order, vocab_size + 1, share
        self.grams, self.counts = grams.cpu(), counts.cpu()
        if len(grams) or len(counts):
            self._check()
        self._levels = list(_levels(self.grams, self.counts, order, self.base)) if len(grams) else []

    @classmethod
    def count(cls, order: int, vocab_size: int, share: float, ids: Tensor) -> Self:
        """Return the counts of the n-grams in the training tokens `ids` (n,)."""
        padded = F.pad(ids.long().cpu(), (order - 1, 0), value=vocab_size)  # (n + order - 1,)
        codes = torch.zeros(len(ids), dtype=torch.int64)
        for place in range(order):
            codes.mul_(vocab_size + 1).add_(padded[place : place + len(ids)])
        return cls(order, vocab_size, share, *torch.unique(codes, return_counts=True))

    def probabilities(self, idx: Tensor) -> Tensor:
        """Return the probability of each next token after idx (B, T) as (B, T, V), float32."""
        B, T = idx.shape
        ids = idx.cpu()
        p = torch.full((B, T, self.base - 1), 1.0 / (self.base - 1))
        context = torch.zeros(B, T, dtype=torch.int64)
        for length, level in enumerate(self._levels[: T + 1]):
            if length == 0:
                level.refine(p.flatten(0, 1), context.flatten(), level.shorter)
                continue
            at = length - 1  # the position that has just so many ids
            context[:, at:] += ids[:, : T - at] * self.base**at
            full_context = context[:, at].clone()  # (B,)
            context[:, :length] = NOWHERE
            level.refine(p.flatten(0, 1), context.flatten(), level.shorter)
            level.refine(p[:, at], full_context, level.longest)
        return p.to(idx.device)

    def mixed(self, logits: Tensor, p: Tensor) -> Tensor:
        """Return the logarithm of `share` times p (..., V) and the rest of softmax(logits) (..., V)."""
        rest = torch.log_softmax(logits, -1) + math.log1p(-self.share)
        return torch.logaddexp(rest, (self.share * p).log().to(rest.dtype))

    def _check(self) -> None:
        """Raise ValueError unless the n-grams ascend, each ends in a token, and each occurs."""
        grams, counts = self.grams, self.counts
        if len(grams) != len(counts) or grams[0] < 0 or grams[-1] >= self.base**self.order:
            raise ValueError("n-grams and counts do not fit together")
        if bool((grams[1:] <= grams[:-1]).any()) or bool((grams % self.base == self.base - 1).any()):
            raise ValueError("n-grams are not in order, or end in no token")
        if counts.min() < 1 or counts.max() > LARGEST // len(counts):
            raise ValueError("n-grams occur too seldom or too often")


@dataclass(frozen=True)
class _Smoothed:
    """The counts of n-grams of an order as shares of those of their context, less what is held back of each."""

    shares: Tensor  # (G,) float32
    held_back: Tensor  # (K,) float32, of each context, for what the shorter one predicts
    dense: Tensor | None  # (K, V), the distributions of all contexts, where they are few


@dataclass(frozen=True)
class _Level:
    """The n-grams of one order, by context, as they predict by themselves and below a longer order."""

    contexts: Tensor  # (K,) ascending
    ends: Tensor  # (K,) int32, where the tokens of a context end
    sizes: Tensor  # (K,) int32, how many it has
    tokens: Tensor  # (G,) int32
    longest: _Smoothed
    shorter: _Smoothed

    def refine(self, p: Tensor, context: Tensor, smoothed: _Smoothed) -> None:
        """Make p (N, V), predicted by the contexts one shorter, what `context` (N,) predicts where it was seen."""
        place = torch.searchsorted(self.contexts, context).clamp_(max=len(self.contexts) - 1)  # (N,)
        rows = (self.contexts[place] == context).nonzero().flatten()  # (M,)
        place = place[rows]  # (M,)
        p[rows] = smoothed.dense[place] if smoothed.dense is not None else self._mixed(p[rows], place, smoothed)

    def _mixed(self, p: Tensor, place: Tensor, smoothed: _Smoothed) -> Tensor:
        """Return what is held back times p (M, V), and the shares on top, of the contexts at `place` (M,)."""
        sizes = self.sizes[place]  # (M,)
        row = torch.repeat_interleave(torch.arange(len(place)), sizes)  # (S,)
        entry = torch.arange(len(row)) + torch.repeat_interleave(self.ends[place] - sizes.cumsum(0), sizes)  # (S,)
        p = p * smoothed.held_back[place].unsqueeze(1)  # (M, V)
        p.view(-1)[row * p.size(1) + self.tokens[entry]] += smoothed.shares[entry]  # no place twice
        return p


def _levels(grams: Tensor, counts: Tensor, order: int, base: int) -> Iterator[_Level]:
    """Yield the levels from order 1 up.

    An n-gram counts as often as it occurs where its context is all there is, and else once for each different token
    that comes before it.
    """
    distinct = [(grams, counts, counts)]
    for length in range(order - 1, 0, -1):
        longer, times, _ = distinct[-1]
        codes, number, before = torch.unique(longer % base**length, return_inverse=True, return_counts=True)
        distinct.append((codes, torch.bincount(number, times.double()).long(), before))
    shorter_contexts = torch.zeros(1, dtype=torch.int64)  # those that `below` is of
    below: Tensor | None = torch.full((1, base - 1), 1.0 / (base - 1), dtype=torch.float64)  # before anything is seen
    for length in range(order):
        codes, times, before = distinct.pop()
        contexts, number, sizes = torch.unique_consecutive(codes // base, return_inverse=True, return_counts=True)
        tokens = codes % base  # (G,)
        if below is not None and len(contexts) * (base - 1) <= DENSE:
            below = below[torch.searchsorted(shorter_contexts, contexts % base ** max(0, length - 1))]  # (K, V)
        else:
            below = None
        longest, _ = _smoothed(times, number, tokens, below)
        shorter, below = _smoothed(before, number, tokens, below)
        shorter_contexts = contexts
        yield _Level(contexts, sizes.cumsum(0).int(), sizes.int(), tokens.int(), longest, shorter)


def _smoothed(counts: Tensor, number: Tensor, tokens: Tensor, below: Tensor | None) -> tuple[_Smoothed, Tensor | None]:
    """Smooth the `counts` (G,) of `tokens` in the contexts of that `number` (G,).

    `below` (K, V) is what the contexts one shorter predict; if given, the same of these comes back, in float64.
    """
    discount = _discounts(counts)[counts.clamp(max=3)]  # (G,)
    totals = torch.bincount(number, counts.double())  # (K,)
    held_back = torch.bincount(number, discount) / totals  # (K,)
    shares = (counts - discount) / totals[number]  # (G,)
    dense = None
    if below is not None:
        dense = held_back.unsqueeze(1) * below  # (K, V)
        dense[number, tokens] += shares
    return _Smoothed(shares.float(), held_back.float(), None if dense is None else dense.float()), dense


def _discounts(counts: Tensor) -> Tensor:
    """Return what is held back of a count of 0, 1, 2, and 3 or more (Chen and Goodman 1999, equation 26).

    A short text, or one that stands there several times, has n-grams that occur four times and none that occur three
    times. By the equation nothing would be held back then, and what was never seen would be impossible.
    """
    once, twice, thrice, four = (max(1, int((counts == times).sum())) for times in (1, 2, 3, 4))
    part = once / (once + 2 * twice)
    by_counts = (0.0, 1 - 2 * part * twice / once, 2 - 3 * part * thrice / twice, 3 - 4 * part * four / thrice)
    discounts = [value if value > 0.0 else fallback for value, fallback in zip(by_counts, FALLBACK, strict=True)]
    return torch.tensor(discounts, dtype=torch.float64).clamp(max=torch.arange(4.0))
