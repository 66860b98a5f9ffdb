"""What a device makes of a few fixed computations: a digest that tells arithmetics apart, whatever they are called.

Two machines with the same torch may add in another order: MKL, oneDNN and the C library choose their code by the
processor and by variables of the environment. What is computed is a step of a training in miniature, at the sizes at
which these libraries change their code.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gptmodel.errors import is_out_of_memory

SIZES = ((64, 32, 16, 78), (48, 29, 3, 65), (256, 80, 1, 257))
"""Width, length and number of sequences, vocabulary: the default's, odd ones, and those of a larger model."""
HEADS = 4
SUMMED = 1 << 18  # numbers, of which torch's threads take a part each


def arithmetic(device: torch.device, dtype: torch.dtype, threads: int = 1) -> str:
    """Return 12 hexadecimal digits that depend on how `device` computes, with as many of torch's `threads`.

    The forward pass is in `dtype`. Takes some tens of milliseconds on a CPU, and leaves torch's threads and
    default generators as they are.
    """
    sha, before = hashlib.sha256(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in SIZES:
            try:
                _add(sha, _miniature(*size, device, dtype))
            except RuntimeError as error:  # what a device cannot do tells it apart too
                if is_out_of_memory(error):
                    raise
                sha.update(type(error).__name__.encode())
        numbers = torch.empty(SUMMED).normal_(generator=torch.Generator().manual_seed(0))
        _add(sha, [numbers.to(device).sum()])
    finally:
        torch.set_num_threads(before)
    # the learning rate and AdamW's corrections are Python's, which asks the C library
    scalars = [function(n / 7) for function in (math.exp, math.cos, math.log) for n in range(1, 50)]
    sha.update(repr([*scalars, *(0.999**n for n in range(1, 50))]).encode())
    return sha.hexdigest()[:12]


def _add(sha: "hashlib._Hash", results: Sequence[Tensor]) -> None:
    for result in results:
        sha.update(result.detach().float().cpu().contiguous().numpy().tobytes())


def _miniature(C: int, T: int, B: int, V: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Return the logits, gradients and updated weights of one layer."""
    random = torch.Generator().manual_seed(C)

    def drawn(*shape: int) -> Tensor:
        return torch.empty(shape).normal_(0.0, 0.3, generator=random).to(device).requires_grad_()

    idx = torch.empty(B, T + 1, dtype=torch.int64).random_(0, V, generator=random).to(device)
    weights = [drawn(V, C), drawn(3 * C, C), drawn(C, C), drawn(4 * C, C), drawn(C, 4 * C), drawn(V, C)]
    embedding, qkv, proj, up, down, decoder = weights
    angles = torch.arange(T, device=device)[:, None] / 50.0 ** torch.linspace(0, 1, C // HEADS, device=device)
    future = torch.full((T, T), float("-inf"), device=device).triu_(1)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        x = F.layer_norm(F.embedding(idx[:, :-1], embedding), (C,))  # (B, T, C)
        q, k, v = F.linear(x, qkv).view(B, T, 3, HEADS, -1).permute(2, 0, 3, 1, 4)  # (B, nh, T, hs) each
        q = F.rms_norm(q * angles.cos() + k * angles.sin(), (C // HEADS,)).to(v.dtype)
        seen = torch.softmax(q @ k.transpose(-2, -1) + future, dim=-1) @ v
        seen = seen + F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(seen.transpose(1, 2).reshape(B, T, C), proj)
        hidden = F.linear(x, up)  # (B, T, 4 * C)
        x = F.layer_norm(x + F.linear(F.gelu(hidden) + F.relu(hidden).square(), down), (C,))
        logits = torch.tanh(F.linear(x, decoder) / 15.0)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), idx[:, 1:].flatten())
    gradients = torch.autograd.grad(loss, weights)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    updated = [w.detach() - g / (g.square().sqrt() + norm) for w, g in zip(weights, gradients, strict=True)]
    return [logits, loss, *gradients, *updated]
