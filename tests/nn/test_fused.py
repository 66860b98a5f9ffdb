"""The fast attention and the tutorial's are one model: same logits, same gradients, same checkpoint, either way."""

import copy
import io
import re

import pytest
import torch
from model_helpers import VOCAB, batch, equal_states, generator, scramble, small_model
from torch import Tensor
from torch.nn import functional as F

from gptmodel.nn.dropout import dropping_by
from gptmodel.nn.fused import SHORT_BLOCK, SHORT_BLOCK_IN_HALF
from gptmodel.nn.transformer import TransformerModel

CASES = [
    {"position": "learned"},
    {"position": "rotary"},
    {"position": "rotary", "norm": "pre", "n_head": 1},
    {"position": "none", "n_head": 4, "ngram_orders": [2], "activation": "gelu", "decoder_bias": False},
    {"position": "rotary", "norm": "pre", "norm_type": "rmsnorm", "qk_norm": True, "logit_softcap": 4.0},
    {"qkv_bias": True, "activation": "gelu_tanh", "tie_embeddings": True, "decoder_bias": False},
    {"qkv_bias": True, "position": "rotary", "qk_norm": True, "tie_embeddings": True, "ngram_orders": [2]},
]
TOLERANCE = {torch.float64: {"rtol": 1e-9, "atol": 1e-12}, torch.float32: {"rtol": 1e-5, "atol": 2e-6}}
cases = pytest.mark.parametrize("case", CASES, ids=str)


def twins(case: dict[str, object], dtype: torch.dtype) -> tuple[TransformerModel, TransformerModel]:
    """The reference with random weights, and the fused form that loaded its state dict."""
    reference = scramble(small_model(fused=False, **case)).to(dtype)
    fused = small_model(1, fused=True, **case).to(dtype)
    fused.load_state_dict(reference.state_dict(), strict=True)
    return reference, fused


def gradients(model: TransformerModel, idx: Tensor) -> dict[str, Tensor]:
    """The gradient of a loss, in the names and shapes of the checkpoint layout."""
    model.zero_grad()
    F.cross_entropy(model(idx).flatten(0, 1), idx.roll(-1, 1).flatten()).backward()
    holder = copy.deepcopy(model)
    for parameter, source in zip(holder.parameters(), model.parameters(), strict=True):
        assert source.grad is not None
        parameter.data = source.grad.to_dense()  # that of a table of n-grams is sparse
    return dict(holder.state_dict())


def assert_same(one: TransformerModel, other: TransformerModel, idx: Tensor) -> None:
    tolerance = TOLERANCE[one.encoder.weight.dtype]
    torch.testing.assert_close(one(idx), other(idx), **tolerance)
    actual, expected = gradients(one, idx), gradients(other, idx)
    assert list(actual) == list(expected)
    for name, gradient in actual.items():
        torch.testing.assert_close(gradient, expected[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


@cases
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("T", [1, 5, 8])
def test_logits_and_gradients_agree(case: dict[str, object], dtype: torch.dtype, T: int) -> None:
    assert_same(*twins(case, dtype), batch(2, T))


@pytest.mark.parametrize("shares", [(0.0, 0.4), (0.4, 0.0), (0.2, None), (0.2, 0.4)], ids=str)
def test_both_drop_as_many_weights_of_the_attention(shares: tuple[float, float | None]) -> None:
    """Of values that are all 1, what is left tells how many were kept; `dropout` is only for what comes after."""
    dropout, of_attention = shares
    for model in twins({"dropout": dropout, "attention_dropout": of_attention, "n_layer": 1}, torch.float32):
        attention, seen = model.blocks[0].sa, []
        attention.proj.register_forward_pre_hook(lambda _module, inputs, seen=seen: seen.append(inputs[0]))
        state = {name: torch.zeros_like(tensor) for name, tensor in attention.state_dict().items()}
        for name, tensor in state.items():
            if name.endswith("value.weight"):
                tensor[:, 0] = 1.0
        attention.load_state_dict(state)
        x = torch.zeros(2000, 8, model.params.n_embd)  # (B, T, C)
        x[..., 0] = 1.0
        with dropping_by(generator(1)):
            attention.train()(x)
        dropped = (seen[0][:, 0] == 0.0).double().mean().item()  # the first position sees but itself
        assert dropped == pytest.approx(dropout if of_attention is None else of_attention, abs=0.03)


def calls_torchs_kernel(model: TransformerModel, idx: Tensor, dtype: torch.dtype) -> bool:
    with torch.profiler.profile() as profile, torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        model(idx)
    return any("scaled_dot_product" in event.key for event in profile.key_averages())


@pytest.mark.parametrize("block_size", [SHORT_BLOCK, SHORT_BLOCK + 1])
def test_both_kernels_of_the_fused_form_agree_with_the_reference(block_size: int) -> None:
    reference, fused = twins({"block_size": block_size}, torch.float64)
    idx = batch(2, block_size)
    assert calls_torchs_kernel(fused, idx, torch.float64) == (block_size > SHORT_BLOCK)
    assert_same(reference, fused, idx)


@pytest.mark.parametrize("block_size", [SHORT_BLOCK + 1, SHORT_BLOCK_IN_HALF + 1])
def test_in_bfloat16_the_slow_kernel_is_for_long_blocks_only(block_size: int) -> None:
    reference, fused = twins({"block_size": block_size, "position": "rotary", "qk_norm": True}, torch.float32)
    idx = batch(1, block_size)
    assert calls_torchs_kernel(fused, idx, torch.bfloat16) == (block_size > SHORT_BLOCK_IN_HALF)
    with torch.autocast("cpu", torch.bfloat16):
        actual = gradients(fused, idx)
    exact = gradients(reference, idx)
    whole, expected = (torch.cat([each[name].flatten() for name in exact]) for each in (actual, exact))
    assert (whole - expected).norm() <= 0.02 * expected.norm()  # numbers of 8 bits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", ["key", "query", "value"])
def test_the_comparison_sees_one_changed_weight(part: str, dtype: torch.dtype) -> None:
    reference, fused = twins(CASES[1], dtype)
    state = reference.state_dict()
    state[f"blocks.1.sa.heads.1.{part}.weight"][2, 3] += 5e-2
    with pytest.raises(AssertionError):
        assert_same(reference, fused, batch(2, 8))


def test_the_comparison_sees_one_changed_bias() -> None:
    reference, fused = twins(CASES[-1], torch.float64)
    reference.state_dict()["blocks.1.sa.heads.1.query.bias"][1] += 5e-2
    with pytest.raises(AssertionError):
        assert_same(reference, fused, batch(2, 8))


@cases
def test_the_comparison_sees_exchanged_heads(case: dict[str, object]) -> None:
    reference, fused = twins({**case, "n_head": 2}, torch.float64)
    state = reference.state_dict()
    swap = {"heads.0": "heads.1", "heads.1": "heads.0"}
    exchanged = {
        next((name.replace(old, new) for old, new in swap.items() if f"blocks.0.sa.{old}." in name), name): tensor
        for name, tensor in state.items()
    }
    fused.load_state_dict(exchanged)
    with pytest.raises(AssertionError):
        assert_same(reference, fused, batch(2, 8))


@cases
def test_each_loads_the_others_state_dict_and_gives_back_the_same(case: dict[str, object]) -> None:
    reference, fused = (scramble(small_model(fused=form, **case), seed=int(form)) for form in (False, True))
    from_fused, from_reference = (small_model(2, fused=form, **case) for form in (False, True))
    from_fused.load_state_dict(fused.state_dict(), strict=True)
    from_reference.load_state_dict(reference.state_dict(), strict=True)
    assert equal_states(from_fused.state_dict(), fused.state_dict())
    assert equal_states(from_reference.state_dict(), reference.state_dict())


@cases
def test_one_seed_gives_both_the_same_first_weights_and_the_same_file(case: dict[str, object]) -> None:
    states = [small_model(3, fused=form, **case).state_dict() for form in (False, True)]
    assert equal_states(*states)
    files = []
    for state in states:
        buffer = io.BytesIO()
        torch.save({name: tensor.contiguous().clone() for name, tensor in state.items()}, buffer)
        files.append(buffer.getvalue())
    assert files[0] == files[1]


@pytest.mark.parametrize("fused", [False, True])
@cases
def test_a_state_dict_holds_parameters_only(case: dict[str, object], fused: bool) -> None:
    model = small_model(fused=fused, **case)
    state = model.state_dict()
    assert not [name for name in state if any(word in name for word in ("tril", "cos", "sin", "qkv"))]
    assert sum(tensor.numel() for tensor in state.values()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    "name", ["blocks.1.sa.heads.0.query.weight", "blocks.1.sa.heads.0.query.bias", "encoder.weight"]
)
@pytest.mark.parametrize("fused", [False, True])
def test_what_is_missing_is_named(fused: bool, name: str) -> None:
    switches = {"qkv_bias": True, "tie_embeddings": True}
    state = dict(small_model(fused=not fused, **switches).state_dict())
    del state[name]
    with pytest.raises(RuntimeError, match=re.escape(name.partition("heads")[0])):
        small_model(fused=fused, **switches).load_state_dict(state)


def test_loading_leaves_the_given_state_dict_as_it_is() -> None:
    state = dict(small_model(fused=False).state_dict())
    names = list(state)
    small_model(fused=True).load_state_dict(state)
    assert list(state) == names


def test_training_the_fused_form_leaves_the_loaded_tensors_alone() -> None:
    reference, fused = twins(CASES[0], torch.float32)
    before = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.add_(1.0)
    assert equal_states(reference.state_dict(), before)
    assert reference.vocab_size == VOCAB
