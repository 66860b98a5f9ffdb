"""Memory for the keys and values of ids that were read, so that the next id costs one position and not all again.

A cache is exact up to block_size ids, and takes no more. Past that the context of the plain loop loses its first id
with each new one: every id moves to another learned position, and from the second block on each key was made of values
that the lost id had a part in, whatever the positions. Nothing kept would be right there: who forgets ids resets the
cache and has those that stay read again.

Shapes: B batch, S ids so far, nh heads, hs head size.
"""

import torch
from torch import Tensor

from gptmodel.config import ModelParams


class KVCache:
    """What `batch_size` texts that grow together have left behind; `incremental.IncrementalModel` fills it.

    The ids are kept too: the n-grams of a new id reach back to earlier ones.
    """

    def __init__(
        self,
        params: ModelParams,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (params.n_layer, 2, batch_size * params.n_head, params.block_size, params.n_embd // params.n_head)
        self._kv = torch.empty(shape, device=device, dtype=dtype)
        self._idx = torch.empty(batch_size, params.block_size, device=device, dtype=torch.long)
        self.length = 0

    @property
    def idx(self) -> Tensor:
        """The ids so far, (B, S)."""
        return self._idx[:, : self.length]

    def extend(self, idx: Tensor) -> int:
        """Put idx (B, T) behind the ids so far and return where it starts; its keys and values are the caller's to set.

        Raises ValueError for more than block_size ids in all, and for several behind others: a context is read in one
        piece, and then id by id.
        """
        start, T, block_size = self.length, idx.size(1), self._idx.size(1)
        if start + T > block_size:
            raise ValueError(f"{start + T} tokens do not fit block_size = {block_size}")
        if start and T > 1:
            raise ValueError(f"{T} tokens behind {start}: after the first call a cache takes one at a time")
        self._idx[:, start : start + T] = idx
        self.length = start + T
        return start

    def layers(self, start: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return for each block its memory from `start` on (2, B * nh, S - start, hs), keys (B * nh, S, hs) and values.

        All three are views: what is set in the first is seen in the others.
        """
        filled = self._kv[:, :, :, : self.length]  # (n_layer, 2, B * nh, S, hs)
        parts = filled[:, :, :, start:], filled[:, 0], filled[:, 1]
        return list(zip(*(part.unbind(0) for part in parts), strict=True))

    def reset(self) -> None:
        """Forget all ids; the memory stays for the next ones."""
        self.length = 0
