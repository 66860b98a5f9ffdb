"""What goes into the first block: token, position and n-gram embeddings, and rotary positions for attention.

Shapes: B batch, T time, C n_embd, nh heads, hs head size, V vocab.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.nn.dropout import kept

ROTARY_BASE = 10_000.0
NGRAM_ROWS = 131_071  # prime, so that the hash below spreads over all rows
NGRAM_FACTOR = 1_000_003


def undrawn_embedding(rows: int, n_embd: int, *, sparse: bool = False) -> nn.Embedding:
    """Return an embedding whose weights are still to be set: `nn.Embedding` would draw them, which takes a while."""
    weights = torch.empty(rows, n_embd)
    return nn.Embedding.from_pretrained(weights, freeze=False, sparse=sparse)


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, RoFormer): turns pairs of q and k by an angle that grows with time.

    The product of a turned query and a turned key depends on their distance only. A pair is a complex number here,
    and its turn one product: several times as fast on a CPU as sines and cosines put together from halves, but for a
    compiler, which knows no complex numbers.
    """

    turns: Tensor

    def __init__(self, head_size: int, block_size: int) -> None:
        super().__init__()
        turns = torch.empty(block_size, head_size // 2, 2)
        if not turns.is_meta:  # there only the size is asked for
            frequencies = ROTARY_BASE ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
            angles = torch.outer(torch.arange(block_size, dtype=torch.float64), frequencies)  # (block_size, hs/2)
            turns.copy_(torch.stack((angles.cos(), angles.sin()), dim=-1))  # (block_size, hs/2, 2)
        self.register_buffer("turns", turns, persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Turn x (B, T, ..., hs), whose first T stands at position `start`."""
        T, hs = x.size(1), x.size(-1)
        turns = self.turns[start : start + T].view(T, *[1] * (x.dim() - 3), hs // 2, 2)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))  # complex numbers have no half precision
        pairs = exact.view(*x.shape[:-1], hs // 2, 2)
        if torch.compiler.is_compiling():
            (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)  # (B, T, ..., hs/2) and (T, ..., hs/2)
            turned = torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1)
        else:
            turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))
        return turned.flatten(-2).to(x.dtype)  # (B, T, ..., hs)


class NgramEmbedding(nn.Module):
    """One table per order n, looked up by a hash of the last n token ids, the current one included.

    A position with fewer than n ids behind it in the block counts the missing ones as an id of their own, V.
    The look-up replaces what the first layers would otherwise learn about short contexts (the idea of
    Huang et al. 2025, Over-Tokenized Transformer). The gradient of a table is sparse: an update touches the rows that
    a batch looked up. In training all n-gram embeddings of a token are dropped together, with probability `dropout`.
    """

    def __init__(self, orders: tuple[int, ...], vocab_size: int, n_embd: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.orders = orders
        self.missing = vocab_size
        self.tables = nn.ModuleList(
            undrawn_embedding(min((vocab_size + 1) ** order, NGRAM_ROWS), n_embd, sparse=True) for order in orders
        )

    def ids(self, idx: Tensor, order: int, rows: int) -> Tensor:
        """Return the table row of the n-gram that ends at each position of idx (B, T)."""
        exact = (self.missing + 1) ** order <= rows
        factor = self.missing + 1 if exact else NGRAM_FACTOR
        code = idx
        for back in range(1, order):
            earlier = F.pad(idx, (back, 0), value=self.missing)[:, : idx.size(1)]  # (B, T)
            code = code * factor + earlier
            if not exact:
                code = code % rows
        return code  # (B, T)

    def forward(self, idx: Tensor) -> Tensor:
        """Return the sum of the n-gram embeddings of idx (B, T) as (B, T, C)."""
        total = torch.zeros((), device=idx.device)
        for order, table in zip(self.orders, self.tables, strict=True):
            assert isinstance(table, nn.Embedding)
            total = total + table(self.ids(idx, order, table.num_embeddings))  # (B, T, C)
        if self.dropout and self.training:
            total = total * kept(total, (*idx.shape, 1), self.dropout)  # (B, T, C)
        return total
