"""The texts that the benchmarks make up, where nobody gives them one."""

import numpy as np

LETTERS = "".join(map(chr, range(33, 98)))
"""65 characters, as many as Tiny Shakespeare has."""


def random_text(characters: int, letters: str = LETTERS) -> str:
    """Return that many random letters, the same ones in every call."""
    return "".join(np.random.default_rng(0).choice(list(letters), characters))


def repeated_letters(size: int) -> bytes:
    """Return the letters again and again, `size` bytes in all: made at once, whatever the size."""
    return (LETTERS * (size // len(LETTERS) + 1))[:size].encode()
