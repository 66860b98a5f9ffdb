"""Functions with gradients of their own, where torch on a CPU puts the gradient together from many passes over memory.

They compute what the plain forms do, within rounding, in about half the time forward and backward. A gradient of a
gradient is refused.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _ReLU2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (grad * positive).mul_(2.0)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        norm = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)  # (..., 1)
        scale = norm.square_().div_(x.size(-1)).add_(torch.finfo(exact.dtype).eps).rsqrt_()
        normal = exact * scale  # (..., C)
        ctx.save_for_backward(normal, scale, gain)
        return (normal if gain is None else normal * gain).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        normal, scale, gain = ctx.saved_tensors
        grad_gain, dtype = None, grad.dtype
        grad = grad.to(normal.dtype)
        along = grad * normal  # (..., C)
        if gain is not None:
            grad_gain = along.flatten(0, -2).sum(dim=0)  # (C,)
            along, grad = along * gain, grad * gain
        mean = along.mean(dim=-1, keepdim=True)  # (..., 1)
        return torch.addcmul(grad, normal, mean, value=-1.0).mul_(scale).to(dtype), grad_gain


def relu2(x: Tensor) -> Tensor:
    """Return the square of the positive part of x, of any shape (So et al. 2021, Primer)."""
    if torch.compiler.is_compiling():  # a compiler fuses the plain form
        return F.relu(x).square()
    return _ReLU2.apply(x)


def rms_norm(x: Tensor, gain: Tensor | None = None) -> Tensor:
    """Bring each row of x (..., C) to a root mean square of 1, then times gain (C,): F.rms_norm and its epsilon."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # torch has a kernel for it, or makes one
        return F.rms_norm(x, x.shape[-1:], gain)
    return _RMSNorm.apply(x, gain)
