"""Causal self-attention as the tutorial writes it: one head at a time. Slow, and the measure of its fast twin.

Shapes: B batch, T time, C n_embd, nh heads, hs head size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.config import TUTORIAL, Switches
from gptmodel.nn.dropout import Dropout
from gptmodel.nn.embedding import Rotary


class Head(nn.Module):
    """One head of scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) that sees no future.

    The switch `qk_norm` brings each query and key to a root mean square of 1, so that no logit of attention can run
    away (Henry et al. 2020; Dehghani et al. 2023).
    """

    tril: Tensor

    def __init__(
        self,
        head_size: int,
        *,
        n_embd: int,
        block_size: int,
        dropout: float = 0.0,
        switches: Switches = TUTORIAL,
    ) -> None:
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=switches.qkv_bias)
        self.query = nn.Linear(n_embd, head_size, bias=switches.qkv_bias)
        self.value = nn.Linear(n_embd, head_size, bias=switches.qkv_bias)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)), persistent=False)
        self.rotary = Rotary(head_size, block_size) if switches.position == "rotary" else None
        self.qk_norm = switches.qk_norm
        self.dropout = Dropout(switches.dropout_of_attention(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, hs)."""
        T = x.size(1)
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, hs) each
        if self.qk_norm:
            q, k = (F.rms_norm(part, part.shape[-1:]) for part in (q, k))
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        weights = q @ k.transpose(-2, -1) * k.size(-1) ** -0.5  # (B, T, T)
        weights = weights.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        weights = self.dropout(F.softmax(weights, dim=-1))
        return weights @ v  # (B, T, hs)


class MultiHeadAttention(nn.Module):
    """Heads side by side, concatenated and projected (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(
        self,
        num_heads: int,
        head_size: int,
        *,
        block_size: int,
        dropout: float = 0.0,
        switches: Switches = TUTORIAL,
    ) -> None:
        super().__init__()
        n_embd = num_heads * head_size
        self.heads = nn.ModuleList(
            Head(head_size, n_embd=n_embd, block_size=block_size, dropout=dropout, switches=switches)
            for _ in range(num_heads)
        )
        self.proj = nn.Linear(n_embd, n_embd)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        out = torch.cat([head(x) for head in self.heads], dim=-1)  # (B, T, nh * hs)
        return self.dropout(self.proj(out))  # (B, T, C)
