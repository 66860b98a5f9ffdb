"""From logits to the distribution a token is drawn from. Pure functions. Shapes: B batch, V vocab."""

import torch
from torch import Tensor
from torch.nn import functional as F


def next_probabilities(logits: Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Map logits (B, V) to probabilities (B, V).

    temperature divides the logits, and 0 puts everything on the likeliest token; then top_k keeps the k likeliest
    tokens (0 = all), then top_p the smallest set of likeliest tokens that holds at least this probability
    (nucleus sampling, Holtzman et al. 2020; 1 = all). Of equal logits, that of the smaller id counts as the likelier.
    """
    if temperature == 0.0:
        return F.one_hot(logits.argmax(dim=-1), logits.size(-1)).to(logits.dtype)  # (B, V)
    logits = logits - logits.amax(dim=-1, keepdim=True)  # so that no temperature, however low, overflows
    logits = logits / max(temperature, 1e-30)
    if top_k == 0 and top_p == 1.0:
        return F.softmax(logits, dim=-1)
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k:
        ordered, order = ordered[:, :top_k], order[:, :top_k]  # (B, k)
    p = F.softmax(ordered, dim=-1)
    before = p.cumsum(dim=-1) - p  # probability of all likelier tokens
    p = p.masked_fill(before >= top_p, 0.0) if top_p < 1.0 else p
    p = p / p.sum(dim=-1, keepdim=True)
    return torch.zeros_like(logits).scatter_(-1, order, p)
