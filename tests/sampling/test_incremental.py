"""Reading id by id is the forward pass: the same logits after every prefix, under every switch of the model."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from model_helpers import batch, language_model, scramble, small_model
from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.sampling.incremental import IncrementalModel

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
VALUES: dict[str, tuple[Any, ...]] = {  # of switches whose type does not list them
    "block_size": (1, 2, 70),
    "n_embd": (4, 24),
    "n_head": (1, 4),
    "n_layer": (1, 3),
    "dropout": (0.5,),
    "attention_dropout": (0.5,),
    "logit_softcap": (0.0, 3.0),
    "ngram_orders": ([], [2], [2, 3], [8]),
    "ngram_dropout": (0.5,),
    "kneser_ney": (0, 1, 2, 4, 16),
    "kneser_ney_share": (0.3,),
}
BESIDE: dict[str, dict[str, Any]] = {  # what has to be set for a switch to do anything
    "ngram_dropout": {"ngram_orders": [2]},
    "kneser_ney": {"kneser_ney_share": 0.3},
    "kneser_ney_share": {"kneser_ney": 3},
}
COMBINED = [
    {"norm": "pre", "activation": "gelu", "scale_embedding": False},  # nanoGPT
    {"norm": "pre", "norm_type": "rmsnorm", "position": "rotary", "qk_norm": True, "activation": "relu2"},
    {"position": "rotary", "ngram_orders": [2, 3], "ngram_dropout": 0.3, "logit_softcap": 3.0, "dropout": 0.2},
    {"position": "none", "ngram_orders": [4, 2], "qk_norm": True, "norm": "pre", "n_layer": 3},
    {"kneser_ney": 4, "kneser_ney_share": 0.5, "ngram_orders": [2], "logit_softcap": 3.0},
    {"qkv_bias": True, "qk_norm": True, "position": "rotary", "activation": "gelu_tanh", "tie_embeddings": True},
]


def single_switches() -> Iterator[dict[str, Any]]:
    """A case for each value of each key of ModelParams; a key of another kind has to be given values above."""
    for name, field in ModelParams.model_fields.items():
        if get_origin(field.annotation) is Literal:
            values = get_args(field.annotation)
        else:
            values = (False, True) if field.annotation is bool else VALUES[name]
        for value in values:
            yield BESIDE.get(name, {}) | {name: value}


def reader(case: dict[str, Any], fused: bool = True, dtype: torch.dtype = torch.float32) -> IncrementalModel:
    model = scramble(small_model(fused=fused, **case))
    return IncrementalModel(language_model(model.to(dtype).eval()))


def plain(model: IncrementalModel, idx: Tensor) -> Tensor:
    """The forward pass over all of idx (B, T): the logits behind each prefix (B, T, V)."""
    return model.language_model.predict(idx).detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("case", [*single_switches(), *COMBINED], ids=str)
def test_logits_are_those_of_the_forward_pass_after_every_prefix(
    case: dict[str, Any], fused: bool, dtype: torch.dtype
) -> None:
    model = reader(case, fused, dtype)
    block_size = case.get("block_size", 8)
    idx = batch(3, block_size)
    expected = plain(model, idx)
    cache = model.new_cache(3)
    for T in {1, 2, 3, 7, 8, block_size - 1, block_size} & set(range(1, block_size + 1)):
        cache.reset()
        logits = [model.next_logits(idx[:, :T], cache)]  # prefill, then one id at a time
        logits += [model.next_logits(idx[:, t : t + 1], cache) for t in range(T, block_size)]
        atol = TOLERANCE[dtype]
        torch.testing.assert_close(torch.stack(logits, dim=1), expected[:, T - 1 :], rtol=0, atol=atol)


@pytest.mark.parametrize("case", COMBINED, ids=str)
def test_rows_know_nothing_of_each_other(case: dict[str, Any]) -> None:
    """To the bit: the same row beside two others, and beside two different ones."""
    model, idx = reader(case), batch(3, 8)
    other = idx.clone()
    other[0], other[2] = idx[2].flip(0), (idx[0] + 1) % 11
    rows = []
    for ids in (idx, other):
        cache = model.new_cache(3)
        steps = [model.next_logits(ids[:, :3], cache)] + [
            model.next_logits(ids[:, t, None], cache) for t in range(3, 8)
        ]
        rows.append(torch.stack(steps)[:, 1])
        assert not torch.equal(steps[-1][0], steps[-1][1])
    assert torch.equal(*rows)


@pytest.mark.parametrize("T", range(1, 8))
@pytest.mark.parametrize("orders", [[2], [3], [2, 5], [8]], ids=str)
def test_n_grams_reach_back_over_the_border_of_a_call(orders: list[int], T: int) -> None:
    """Without attention's help: its projections are zero, so that only the n-grams know of earlier ids."""
    model = scramble(small_model(ngram_orders=orders, position="none", vocab_size=11)).eval()
    with torch.no_grad():
        for block in model.blocks:
            block.sa.proj.weight.zero_()
    idx = batch(4, 8)
    incremental = IncrementalModel(language_model(model))
    for back in range(1, 8):  # change an id so far back
        changed = idx.clone()
        changed[:, T - back] = (idx[:, T - back] + 1) % 11
        logits = []
        for ids in (idx, changed):
            cache = incremental.new_cache(4)
            incremental.next_logits(ids[:, :T], cache)
            logits.append(incremental.next_logits(ids[:, T : T + 1], cache))
            torch.testing.assert_close(logits[-1], model(ids)[:, T].detach(), rtol=0, atol=1e-5)
        if back <= T:
            assert torch.equal(*logits) is (back >= max(orders)), (back, T)


def test_a_cache_that_was_reset_is_as_good_as_new() -> None:
    model = reader(COMBINED[2])
    cache, fresh = model.new_cache(2), model.new_cache(2)
    model.next_logits(batch(2, 8, seed=3), cache)
    cache.reset()
    for start, stop in ((0, 3), (3, 4), (4, 5)):
        idx = batch(2, 8)[:, start:stop]
        assert torch.equal(model.next_logits(idx, cache), model.next_logits(idx, fresh))


def test_two_caches_of_one_model_do_not_meet() -> None:
    model = reader(COMBINED[0])
    one, other = model.new_cache(2), model.new_cache(2)
    ids_one, ids_other = batch(2, 8), batch(2, 8, seed=1)
    for t in range(8):
        rows = [model.next_logits(ids[:, t : t + 1], cache) for ids, cache in ((ids_one, one), (ids_other, other))]
        for ids, logits in zip((ids_one, ids_other), rows, strict=True):
            torch.testing.assert_close(logits, plain(model, ids)[:, t], rtol=0, atol=1e-5)


def test_nothing_gets_a_gradient_and_a_model_that_was_trained_on_has_a_reader_of_its_own() -> None:
    model = reader(COMBINED[1] | {"ngram_orders": [2]})
    before = model.next_logits(batch(), model.new_cache(3))
    with torch.no_grad():
        for parameter in model._model.parameters():
            parameter.mul_(1.1)
    model = IncrementalModel(model.language_model)
    cache = model.new_cache(3)
    after = model.next_logits(batch(), cache)
    torch.testing.assert_close(after, plain(model, batch())[:, -1], rtol=0, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3)
    assert not after.requires_grad
    assert not any(part.requires_grad for parts in cache.layers(0) for part in parts)


def test_more_than_block_size_ids_are_an_error() -> None:
    model = reader({})
    with pytest.raises(ValueError, match="9 tokens do not fit block_size = 8"):
        model.next_logits(batch(1, 9), model.new_cache(1))


def test_a_model_in_training_mode_is_put_into_eval_mode() -> None:
    assert not IncrementalModel(language_model(small_model().train()))._model.training
