"""The tutorial's attention against arithmetic in numpy, float64, one position at a time."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import generator, scramble, with_switches
from torch import Tensor

from gptmodel.nn.attention import Head, MultiHeadAttention
from gptmodel.nn.fused import FusedMultiHeadAttention

FORMS = [MultiHeadAttention, FusedMultiHeadAttention]


def head_by_hand(
    x: np.ndarray, key: np.ndarray, query: np.ndarray, value: np.ndarray, biases: Sequence[Any] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """softmax(q k / sqrt(hs)) v over the past, for x (T, C), weights (hs, C), and biases (hs,) in the same order."""
    out = []
    for t in range(len(x)):
        past = x[: t + 1]
        q, k = query @ x[t] + biases[1], [key @ earlier + biases[0] for earlier in past]
        scores = np.array([q @ one for one in k]) / math.sqrt(len(key))
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        out.append(sum(w * (value @ earlier + biases[2]) for w, earlier in zip(weights, past, strict=True)))
    return np.array(out)


def inputs(B: int, T: int, C: int, seed: int = 1) -> Tensor:
    return torch.randn(B, T, C, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("T", [1, 3, 5])
def test_a_head_is_scaled_dot_product_attention_over_the_past(T: int, qkv_bias: bool) -> None:
    head = scramble(Head(3, n_embd=6, block_size=5, switches=with_switches(qkv_bias=qkv_bias))).double()
    x = inputs(2, T, 6)
    out = head(x).detach().numpy()  # (B, T, hs)
    assert out.shape == (2, T, 3)
    linears = (head.key, head.query, head.value)
    weights = [linear.weight.detach().numpy() for linear in linears]
    biases = [linear.bias.detach().numpy() if qkv_bias else 0.0 for linear in linears]
    for row, result in zip(x.numpy(), out, strict=True):
        np.testing.assert_allclose(result, head_by_hand(row, *weights, biases), rtol=1e-12)


def test_the_mask_is_a_lower_triangle_that_no_checkpoint_holds() -> None:
    head = Head(3, n_embd=6, block_size=4)
    assert head.tril.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert list(head.state_dict()) == ["key.weight", "query.weight", "value.weight"]


@pytest.mark.parametrize("form", FORMS)
def test_heads_are_concatenated_in_order_and_projected(form: type[MultiHeadAttention]) -> None:
    module = scramble(form(3, 2, block_size=5)).double()
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    x = inputs(1, 5, 6)
    heads = [
        head_by_hand(x[0].numpy(), *(state[f"heads.{h}.{part}.weight"] for part in ("key", "query", "value")))
        for h in range(3)
    ]
    expected = np.concatenate(heads, axis=1) @ state["proj.weight"].T + state["proj.bias"]
    np.testing.assert_allclose(module(x)[0].detach().numpy(), expected, rtol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_rotary_turns_queries_and_keys_but_not_values(form: type[MultiHeadAttention]) -> None:
    """Pairs (2i, 2i + 1) as complex numbers, turned by exp(1j * t * 10000 ** (-2i / hs))."""
    module = scramble(form(1, 4, block_size=6, switches=with_switches(position="rotary"))).double()
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    x = inputs(1, 6, 4)[0].numpy()
    turns = np.exp(1j * np.outer(np.arange(6), [1.0, 0.01]))  # (T, hs/2)
    q, k = (
        ((x @ state[f"heads.0.{part}.weight"].T) @ np.array([[1, 0], [1j, 0], [0, 1], [0, 1j]])) * turns
        for part in ("query", "key")
    )
    scores = (q @ k.conj().T).real / 2.0
    scores[np.triu_indices(6, 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    out = weights @ (x @ state["heads.0.value.weight"].T)
    expected = out @ state["proj.weight"].T + state["proj.bias"]
    result = module(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)  # the tables of angles are float32


def captured_weights(form: type[MultiHeadAttention], size: int, *, training: bool) -> Tensor:
    """The attention weights (B, T, T) of a head that attends to all of the past evenly, as dropout leaves them."""
    module = form(1, size, block_size=size, dropout=0.25)
    state = module.state_dict()
    module.load_state_dict({name: torch.eye(size) if "value" in name else 0 * state[name] for name in state})
    outputs: list[Tensor] = []
    module.proj.register_forward_pre_hook(lambda _, args: outputs.append(args[0]))
    module.train(training)
    module(torch.eye(size).expand(40, size, size))  # value t is the unit vector t: the output shows the weights
    return outputs[0].detach()


@pytest.mark.parametrize("form", FORMS)
def test_attention_weights_are_dropped_in_the_asked_share_in_training_only(form: type[MultiHeadAttention]) -> None:
    size = 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        dropped = captured_weights(form, size, training=True)
    past = torch.tril(torch.ones(size, size)).bool()
    even = (past / past.sum(dim=1, keepdim=True)).expand_as(dropped)
    torch.testing.assert_close(captured_weights(form, size, training=False), even)
    survivors = dropped != 0
    torch.testing.assert_close(dropped[survivors], even[survivors] / 0.75)
    assert not survivors[:, ~past].any()
    share = 1.0 - survivors[:, past].double().mean().item()
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / survivors[:, past].numel())  # 5440 weights: +- 0.03


@pytest.mark.parametrize("form", FORMS)
def test_the_projected_output_is_dropped_in_the_asked_share_in_training_only(form: type[MultiHeadAttention]) -> None:
    module = scramble(form(2, 8, block_size=10, dropout=0.25))
    x = torch.randn(30, 10, 16, generator=generator(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        zeros = (module(x) == 0).double().mean().item()
    assert abs(zeros - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4800)
    assert not (module.eval()(x) == 0).any()
