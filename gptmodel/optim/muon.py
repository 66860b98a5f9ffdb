"""Muon: momentum whose update is made orthogonal, for the matrices inside a transformer."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gptmodel.optim.base import Optimizer, zeros_like

# Coefficients of the quintic that is iterated (Jordan et al. 2024): they lift small singular values fast, and leave
# all of them near 1 rather than at 1.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5


def orthogonalize(matrices: Tensor, *, in_half: bool = False) -> Tensor:
    """Return matrices (N, m, n) with their singular values brought to about 1, by Newton-Schulz iteration.

    On a GPU it works in bfloat16, as Jordan et al. do. Elsewhere it does so where asked, for a CPU that has no bfloat16
    would take seconds.
    """
    tall = matrices.size(-2) > matrices.size(-1)
    if in_half or matrices.is_cuda:
        matrices = matrices.bfloat16()
    x = matrices.mT if tall else matrices  # the smaller side first: the products below are of its size
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # no singular value above 1
    for _ in range(STEPS):
        gram = x @ x.mT  # (N, m, m)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.mT if tall else x


class Muon(Optimizer):
    """Momentum, orthogonalised by Newton-Schulz (Jordan et al. 2024), with decoupled weight decay.

    For matrices of hidden layers only. A group with `rows` holds matrices that are several of that many rows, one
    above the other, such as the fused queries, keys and values of all heads: each is orthogonalised by itself. The
    update is scaled by sqrt(max(1, m / n)), which keeps the size of outputs alike over shapes. `in_half` is
    `orthogonalize`'s.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        in_half: bool = False,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "rows": None})
        self._in_half = in_half

    def kept(self, weight: Tensor) -> dict[str, Any]:
        return {"momentum_buffer": zeros_like(weight)}

    def scratch(self) -> int:
        """Return the numbers a step works with: an update of each matrix, and Newton-Schulz on the largest shape.

        Of that shape there are the updates put together, their result before and after an iteration and that of the
        shape before, and three products, each a quarter of the size where one side is four times the other.
        """
        sizes: defaultdict[tuple[int, int], int] = defaultdict(int)
        for group in self.param_groups:
            for p in group["params"]:
                sizes[group["rows"] or p.size(0), p.size(1)] += p.numel()
        return sum(sizes.values()) + max(sizes.values(), default=0) * 19 // 4

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002  # torch's signature
        """Update every matrix that has a gradient; matrices of one shape go through Newton-Schulz together."""
        alike = defaultdict(list)  # shape of a piece: the pieces of all matrices, and their groups
        done = 1.0 if self.found_inf is None else 1.0 - self.found_inf  # 0 where nothing is to be changed
        for group in self.param_groups:
            lr = self.learning_rate(group) * done
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not (state := self.state[p]):
                    state |= self.kept(p)
                buffer = state["momentum_buffer"]
                grad = p.grad if self.found_inf is None else torch.where(self.found_inf > 0.0, 0.0, p.grad)
                buffer.lerp_(grad, done * (1.0 - group["momentum"]))
                update = grad.lerp(buffer, group["momentum"])  # Nesterov's look ahead
                p.mul_(1.0 - lr * group["weight_decay"])
                rows = group["rows"] or p.size(0)
                pieces = (tensor.unflatten(0, (-1, rows)) for tensor in (p, update))  # (parts, rows, n) each
                alike[rows, p.size(1)].append((*pieces, lr))
        for (rows, columns), entries in alike.items():
            orthogonal = orthogonalize(torch.cat([update for _, update, _ in entries]), in_half=self._in_half)
            scale = max(1.0, rows / columns) ** 0.5
            parts = torch.split(orthogonal, [p.size(0) for p, _, _ in entries])
            for (p, _, lr), part in zip(entries, parts, strict=True):
                if isinstance(lr, Tensor):
                    p.sub_(part * (lr * scale))
                else:
                    p.add_(part, alpha=-lr * scale)
