"""What an iteration computes, in floating-point operations, and how fast this machine multiplies matrices.

An iteration takes 6 operations for each weight of a matrix and each token: a product and a sum, forward, for the
gradient of the input and for the gradient of the weight (Kaplan et al. 2020, section 2.1). The matrices of a block have
12 n_embd^2 weights, the last one n_embd times the vocabulary. Attention adds two products of block_size^2 times n_embd
for each sequence and block, thrice 2 operations each; the half that the causal mask hides is counted as computed.
Embeddings, norms, activations and the optimizer are left out.
"""

import torch

from benchmarks.contestants.loops import Train
from benchmarks.contestants.sizes import Sizes

SIDE = 1024
PRODUCT = 2 * SIDE**3
"""Operations of one matrix product."""


def iteration_operations(sizes: Sizes) -> int:
    """Return the floating-point operations of one training iteration."""
    C, T = sizes.n_embd, sizes.block_size
    weights = sizes.n_layer * 12 * C**2 + C * sizes.vocab
    attention = sizes.n_layer * sizes.batch_size * 3 * 2 * (2 * T**2 * C)
    return 6 * weights * sizes.batch_size * T + attention


def products(_sizes: Sizes, threads: int) -> Train:
    """Multiply float32 matrices of 1024 x 1024: an iteration is one product."""
    torch.set_num_threads(threads)
    a, b, out = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.empty(SIDE, SIDE)

    def train(iterations: int) -> None:
        for _ in range(iterations):
            torch.mm(a, b, out=out)

    return train
