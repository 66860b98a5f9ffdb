"""The kernels against torch's plain forms, forward and backward."""

import pytest
import torch
from model_helpers import generator
from torch import Tensor
from torch.nn import functional as F

from gptmodel.nn.kernels import relu2, rms_norm


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).requires_grad_()


def test_relu2_is_the_square_of_relu_and_so_is_its_gradient() -> None:
    x, grad = drawn(2, 5, 7), drawn(2, 5, 7, seed=2)
    out, plain = relu2(x), F.relu(x).square()
    assert torch.equal(out, plain)
    torch.testing.assert_close(
        torch.autograd.grad(out, x, grad)[0], torch.autograd.grad(plain, x, grad)[0], rtol=1e-14, atol=0
    )


@pytest.mark.parametrize("with_gain", [False, True])
def test_rms_norm_is_that_of_torch_and_so_are_its_gradients(with_gain: bool) -> None:
    x, grad = drawn(3, 5, 2, 8), drawn(3, 5, 2, 8, seed=2)
    gain = drawn(8, seed=3) if with_gain else None
    inputs = [x] if gain is None else [x, gain]
    out, plain = rms_norm(x, gain), F.rms_norm(x, (8,), gain)
    torch.testing.assert_close(out, plain, rtol=1e-13, atol=1e-14)
    for own, expected in zip(
        torch.autograd.grad(out, inputs, grad), torch.autograd.grad(plain, inputs, grad), strict=True
    ):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-13)


def test_rms_norm_of_half_precision_is_computed_in_float32() -> None:
    x = drawn(4, 64).detach().bfloat16().requires_grad_()
    out = rms_norm(x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, F.rms_norm(x.float(), (64,)).bfloat16())
    assert torch.autograd.grad(out.sum(), x)[0].dtype == torch.bfloat16


def test_rms_norm_leaves_a_row_of_zeros() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    out = rms_norm(x)
    assert torch.equal(out, torch.zeros(2, 4))
    assert torch.isfinite(torch.autograd.grad(out.sum(), x)[0]).all()


def test_a_gradient_of_a_gradient_is_refused() -> None:
    x = drawn(4)
    (first,) = torch.autograd.grad(relu2(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        first.sum().backward()  # type: ignore[no-untyped-call]
