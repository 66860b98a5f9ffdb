"""What goes into the first block: token, position and n-gram embeddings, and rotary positions for attention.

Shapes: B batch, T time, C n_embd, nh heads, hs head size, V vocab.
"""

import torch
from torch import Tensor, nn

ROTARY_BASE = 10_000.0
NGRAM_ROWS = 131_071  # prime, so that the hash below spreads over all rows
NGRAM_FACTOR = 1_000_003


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, RoFormer): turns pairs of q and k by an angle that grows with time.

    The product of a turned query and a turned key depends on their distance only.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_size: int, block_size: int) -> None:
        super().__init__()
        frequencies = ROTARY_BASE ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
        angles = torch.outer(torch.arange(block_size, dtype=torch.float64), frequencies)  # (block_size, hs/2)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Turn x (..., T, hs), whose first row stands at position `start`."""
        cos, sin = (table[start : start + x.size(-2)].to(x.dtype) for table in (self.cos, self.sin))  # (T, hs/2)
        first, second = x.chunk(2, dim=-1)  # (..., T, hs/2) each
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)  # (..., T, hs)


class NgramEmbedding(nn.Module):
    """One table per order n, looked up by a hash of the last n token ids, the current one included.

    A position with fewer than n ids behind it in the block counts the missing ones as an id of their own, V.
    The look-up replaces what the first layers would otherwise learn about short contexts (the idea of
    Huang et al. 2025, Over-Tokenized Transformer).
    """

    def __init__(self, orders: tuple[int, ...], vocab_size: int, n_embd: int) -> None:
        super().__init__()
        self.orders = orders
        self.missing = vocab_size
        self.tables = nn.ModuleList(
            nn.Embedding(min((vocab_size + 1) ** order, NGRAM_ROWS), n_embd) for order in orders
        )

    def ids(self, idx: Tensor, order: int, rows: int) -> Tensor:
        """Return the table row of the n-gram that ends at each position of idx (B, T)."""
        exact = (self.missing + 1) ** order <= rows
        factor = self.missing + 1 if exact else NGRAM_FACTOR
        code = idx
        for back in range(1, order):
            earlier = nn.functional.pad(idx, (back, 0), value=self.missing)[:, : idx.size(1)]  # (B, T)
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
        return total
