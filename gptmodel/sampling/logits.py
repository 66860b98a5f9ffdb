"""From logits to the distribution a token is drawn from. Pure functions. Shapes: B batch, V vocab."""

import torch
from torch import Tensor
from torch.nn import functional as F


def next_probabilities(logits: Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Map logits (B, V) to probabilities (B, V).

    temperature divides the logits, and 0 puts everything on the likeliest token; then top_k keeps the k likeliest
    tokens (0 = all), then top_p the smallest set of likeliest tokens that holds at least this probability
    (nucleus sampling, Holtzman et al. 2020; 1 = all).
    """
    if temperature == 0.0:
        return F.one_hot(logits.argmax(dim=-1), logits.size(-1)).to(logits.dtype)  # (B, V)
    logits = logits / temperature
    if 0 < top_k < logits.size(-1):
        smallest = logits.topk(top_k, dim=-1).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    probabilities = F.softmax(logits, dim=-1)
    if top_p < 1.0:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered  # probability of all likelier tokens
        kept = ordered.masked_fill(before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter_(-1, order, kept)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities
