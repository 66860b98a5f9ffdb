"""Random numbers that depend on what they are for and on nothing that ran before."""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are drawn for: each purpose has a stream of its own."""

    BATCHES = 0
    WEIGHTS = 1
    DROPOUT = 2
    SAMPLING = 3
    SEARCH = 4


def derived_generator(seed: int, stream: int, counter: int) -> np.random.Generator:
    """Return the generator of one (seed, stream, counter), each from 0 to 2**64 - 1.

    `stream` keeps purposes apart and `counter` says which of a purpose's draws this is. Generators of different
    triples never overlap: Philox is keyed by (seed, stream), and `counter` is a high word of its position, 2**128
    blocks away from the next.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    position = np.array([0, 0, counter, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=position))


def derived_seed(seed: int, stream: int, counter: int = 0) -> int:
    """Return a seed from 0 to 2**63 - 1 for generators that take one number."""
    return int(derived_generator(seed, stream, counter).integers(2**63))


def torch_generator(seed: int, stream: int, counter: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return torch's generator of one (seed, stream, counter)."""
    return torch.Generator(device).manual_seed(derived_seed(seed, stream, counter))
