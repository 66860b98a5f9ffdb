"""Feed-forward and block, by hand."""

import math

import numpy as np
import pytest
import torch
from model_helpers import generator, scramble, with_switches
from torch import Tensor, nn

from gptmodel.nn.block import Block, FeedForward

ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + ERF(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
}


def normalised(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    """Layer normalisation over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    gain, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + bias


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_is_up_activation_down(activation: str) -> None:
    module = scramble(FeedForward(3, switches=with_switches(activation=activation))).double()
    assert isinstance(module.net, nn.Sequential)
    assert [type(layer) for layer in module.net][::2] == [nn.Linear, nn.Linear]
    assert isinstance(module.net[3], nn.Dropout)
    up, down = module.net[0], module.net[2]
    assert (up.in_features, up.out_features, down.in_features, down.out_features) == (3, 12, 12, 3)
    x = torch.randn(2, 5, 3, generator=generator(1), dtype=torch.float64)
    w1, b1, w2, b2 = (p.detach().numpy() for p in module.parameters())
    expected = ACTIVATIONS[activation](x.numpy() @ w1.T + b1) @ w2.T + b2
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-12)


def test_feed_forward_drops_the_asked_share_in_training_only() -> None:
    module = scramble(FeedForward(16, dropout=0.25))
    x = torch.randn(30, 10, 16, generator=generator(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        out = module(x)
    whole = module.eval()(x)
    survivors = out != 0
    assert abs(1 - survivors.double().mean().item() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4800)
    torch.testing.assert_close(out[survivors], whole[survivors] / 0.75)
    assert (whole != 0).all()


def block(*, fused: bool, **changes: object) -> Block:
    return scramble(Block(6, 2, 0.0, 5, switches=with_switches(**changes), fused=fused)).double()


def parts(module: Block, x: np.ndarray, part: str) -> np.ndarray:
    out: Tensor = getattr(module, part)(torch.from_numpy(x))
    return out.detach().numpy()


@pytest.mark.parametrize("fused", [False, True])
def test_post_norm_normalises_each_sum(fused: bool) -> None:
    module = block(norm="post", fused=fused)
    x = torch.randn(2, 5, 6, generator=generator(1), dtype=torch.float64).numpy()
    middle = normalised(x + parts(module, x, "sa"), module.ln1)
    expected = normalised(middle + parts(module, middle, "ffwd"), module.ln2)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fused", [False, True])
def test_pre_norm_normalises_each_input_and_leaves_the_residual_path_alone(fused: bool) -> None:
    module = block(norm="pre", fused=fused)
    x = torch.randn(2, 5, 6, generator=generator(1), dtype=torch.float64).numpy()
    middle = x + parts(module, normalised(x, module.ln1), "sa")
    expected = middle + parts(module, normalised(middle, module.ln2), "ffwd")
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_block_takes_the_tutorials_four_and_hands_them_on() -> None:
    module = Block(8, 4, 0.3, 16, fused=False)
    assert len(module.sa.heads) == 4  # type: ignore[arg-type]
    assert module.sa.heads[0].tril.shape == (16, 16)  # type: ignore[index,union-attr]
    assert module.sa.heads[0].key.weight.shape == (2, 8)  # type: ignore[index,union-attr]
    assert {layer.p for layer in module.modules() if isinstance(layer, nn.Dropout)} == {0.3}
