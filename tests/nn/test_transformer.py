"""The whole model: shapes, embeddings, and that no position sees its future, proved by gradients."""

import math

import numpy as np
import pytest
import torch
from model_helpers import VOCAB, batch, equal_states, generator, model_params, scramble, small_model
from torch import Tensor, nn

from gptmodel.nn.transformer import TransformerModel, build_model


@pytest.mark.parametrize("T", [1, 5, 8])
def test_logits_have_a_score_for_each_token_at_each_position(T: int) -> None:
    assert small_model()(batch(3, T)).shape == (3, T, VOCAB)


def test_more_tokens_than_block_size_are_an_error() -> None:
    with pytest.raises(ValueError, match="9 tokens do not fit block_size = 8"):
        small_model()(batch(1, 9))


def test_the_parts_have_the_tutorials_names() -> None:
    model = small_model(n_layer=3)
    assert isinstance(model.encoder, nn.Embedding)
    assert model.encoder.weight.shape == (VOCAB, 8)
    assert len(model.blocks) == 3
    assert isinstance(model.decoder, nn.Linear)
    assert model.decoder.weight.shape == (VOCAB, 8)


def embedded(model: TransformerModel, idx: Tensor) -> Tensor:
    """What the first block gets."""
    outputs: list[Tensor] = []
    handle = model.blocks.register_forward_pre_hook(lambda _, args: outputs.append(args[0]))
    model(idx)
    handle.remove()
    return outputs[0].detach()


@pytest.mark.parametrize("scale_embedding", [True, False])
def test_the_token_embedding_is_scaled_by_the_root_of_n_embd(scale_embedding: bool) -> None:
    model = scramble(small_model(position="none", scale_embedding=scale_embedding))
    idx = batch()
    factor = math.sqrt(8) if scale_embedding else 1.0
    torch.testing.assert_close(embedded(model, idx), model.encoder.weight.detach()[idx] * factor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("T", [3, 8])
def test_learned_positions_and_n_grams_are_added_unscaled(T: int) -> None:
    model = scramble(small_model(position="learned", ngram_orders=[2]))
    assert model.position is not None
    assert model.ngrams is not None
    idx = batch(2, T)
    expected = model.encoder.weight[idx] * math.sqrt(8) + model.position.weight[:T] + model.ngrams(idx)
    torch.testing.assert_close(embedded(model, idx), expected.detach())


def test_the_embedded_input_is_dropped_in_the_asked_share_in_training_only() -> None:
    model = scramble(small_model(dropout=0.25))
    idx = batch(60, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        share = (embedded(model, idx) == 0).double().mean().item()
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 3840)
    model.eval()
    assert not (embedded(model, idx) == 0).any()


@pytest.mark.parametrize(
    ("position", "ngram_orders", "matters"),
    [("none", [], False), ("learned", [], True), ("rotary", [], True), ("none", [2], True)],
)
def test_the_order_of_earlier_tokens_matters_with_positions_only(
    position: str, ngram_orders: list[int], matters: bool
) -> None:
    """One layer without positions sees a set: the last position cannot tell in which order the others came."""
    model = scramble(small_model(n_layer=1, position=position, ngram_orders=ngram_orders)).double()
    idx = torch.tensor([[1, 2, 3, 4, 5]])
    other = torch.tensor([[3, 1, 4, 2, 5]])
    same = torch.allclose(model(idx)[:, -1], model(other)[:, -1], rtol=1e-9)
    assert same is not matters


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("ngram_orders", [[], [2, 3]])
@pytest.mark.parametrize("position", ["none", "learned", "rotary"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_no_position_sees_its_future(norm: str, position: str, ngram_orders: list[int], fused: bool) -> None:
    """By gradient: changing a later token can leave logits alone by luck, a gradient of exactly zero is none."""
    model = scramble(small_model(norm=norm, position=position, ngram_orders=ngram_orders, fused=fused))
    outputs: list[Tensor] = []
    model.encoder.register_forward_hook(lambda _module, _args, out: outputs.append(out))
    idx = batch(2, 6)
    direction = torch.randn(VOCAB, generator=generator(2))  # a plain sum of logits can have no gradient at all
    logits = model(idx)  # (B, T, V)
    for t in range(6):
        (gradient,) = torch.autograd.grad((logits[:, t] @ direction).sum(), outputs[0], retain_graph=True)
        size = gradient.abs().sum(dim=(0, 2))  # (T,)
        assert (size[t + 1 :] == 0).all(), f"position {t} sees its future: {size.tolist()}"
        assert (size[: t + 1] > 0).all(), f"position {t} does not see all of its past: {size.tolist()}"
    with torch.no_grad():
        for t in range(1, 6):
            changed = idx.clone()
            changed[:, t:] = (changed[:, t:] + 1) % VOCAB
            assert torch.equal(model(changed)[:, :t], logits[:, :t])
            assert not torch.equal(model(changed)[:, t], logits[:, t])


def test_the_residual_path_of_pre_norm_is_normalised_before_the_decoder() -> None:
    model = scramble(small_model(norm="pre"))
    assert model.ln_f is not None
    outputs: list[Tensor] = []
    model.blocks.register_forward_hook(lambda _module, _args, out: outputs.append(out))
    logits = model(batch())
    torch.testing.assert_close(logits, model.decoder(model.ln_f(outputs[0])))
    assert small_model(norm="post").ln_f is None


def test_first_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = small_model(1), small_model(1), small_model(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal_states(one.state_dict(), same.state_dict())
    assert not equal_states(one.state_dict(), other.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert equal_states(one.state_dict(), small_model(1).state_dict())


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_first_weights_have_the_promised_sizes(norm: str) -> None:
    params = model_params(norm=norm, n_embd=64, n_head=4, n_layer=1, ngram_orders=[2])
    for name, tensor in build_model(params, 50, generator(0)).state_dict().items():
        values = tensor.double().numpy()
        if name.startswith("ngrams."):
            assert not values.any(), "an n-gram that was never seen adds nothing"
        elif name.startswith(("encoder.", "position.")):
            std = 0.02 * 8 if name.startswith("position.") else 0.02  # as large as a scaled token embedding
            np.testing.assert_allclose(values.std(), std, rtol=0.15)
            assert abs(values.mean()) < 0.15 * std
        elif values.ndim == 2:
            border = 1 / math.sqrt(values.shape[1])
            assert 0.98 * border < np.abs(values).max() <= border * (1 + 1e-6)
            np.testing.assert_allclose(values.std(), border / math.sqrt(3), rtol=0.1)
        else:
            gain = name.endswith("weight")
            assert (values == (1.0 if gain else 0.0)).all(), name
            assert not gain or "ln" in name


@pytest.mark.parametrize("fused", [False, True])
def test_with_zero_init_a_block_starts_as_the_identity(fused: bool) -> None:
    idx = batch()
    for zero_init in (True, False):
        model = small_model(norm="pre", zero_init=zero_init, fused=fused)
        x = embedded(model, idx)
        assert torch.equal(model.blocks(x), x) is zero_init


def test_the_softcap_bends_logits_within_its_bounds() -> None:
    model = scramble(small_model(logit_softcap=2.0), std=2.0)
    plain = scramble(small_model(), std=2.0)
    idx = batch()
    logits, free = model(idx), plain(idx)
    assert free.abs().max() > 4.0
    torch.testing.assert_close(logits, 2.0 * torch.tanh(free / 2.0))
    assert logits.abs().max() <= 2.0


def test_normalised_queries_and_keys_make_attention_blind_to_their_size() -> None:
    for qk_norm in (True, False):
        model = scramble(small_model(qk_norm=qk_norm, n_layer=1, position="rotary", fused=False))
        idx = batch()
        before = model(idx)
        with torch.no_grad():
            for head in model.blocks[0].sa.heads:
                head.query.weight.mul_(7.0)
        assert torch.allclose(model(idx), before, rtol=1e-4, atol=1e-5) is qk_norm


@pytest.mark.parametrize("scale_embedding", [True, False])
def test_a_tied_matrix_embeds_and_decodes_and_its_gradient_is_that_of_both(scale_embedding: bool) -> None:
    """Beside a model with two matrices, which hold the same numbers. The scale is the embedding's alone."""
    tied = scramble(small_model(tie_embeddings=True, scale_embedding=scale_embedding)).double()
    assert sum(p.numel() for p in small_model().parameters()) - sum(p.numel() for p in tied.parameters()) == VOCAB * 8
    untied = small_model(scale_embedding=scale_embedding).double()
    untied.load_state_dict({**tied.state_dict(), "decoder.weight": tied.encoder.weight.detach()})
    logits, expected = tied(batch()), untied(batch())
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=0)
    for result in (logits, expected):
        nn.functional.cross_entropy(result.flatten(0, 1), batch().roll(-1, 1).flatten()).backward()
    parts = [matrix.grad for matrix in (untied.encoder.weight, untied.decoder.weight)]
    assert all(part.abs().max() > 1e-3 for part in parts)
    torch.testing.assert_close(tied.encoder.weight.grad, parts[0] + parts[1], rtol=1e-9, atol=1e-12)


def test_n_grams_are_dropped_by_whole_tokens_in_training_only() -> None:
    model = scramble(small_model(ngram_orders=[2, 3], ngram_dropout=0.25))
    assert model.ngrams is not None
    idx = batch(60, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        dropped = (model.ngrams(idx) == 0).all(dim=-1)  # (B, T)
        torch.manual_seed(5)
        embedded = model.ngrams(idx)[~dropped]
    assert abs(dropped.double().mean().item() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 480)
    model.eval()
    torch.testing.assert_close(embedded, model.ngrams(idx)[~dropped] / 0.75)
    assert not (model.ngrams(idx) == 0).all(dim=-1).any()
