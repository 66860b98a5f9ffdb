"""Muon against an independent computation: the singular values by SVD, the polynomial on plain numbers."""

import copy

import numpy as np
import pytest
import torch
from model_helpers import equal_states, generator, scramble, small_model, train_params
from torch import nn

from gptmodel.nn.block import Block
from gptmodel.optim.adamw import AdamW
from gptmodel.optim.combined import Combined
from gptmodel.optim.factory import build_optimizer
from gptmodel.optim.muon import Muon, orthogonalize
from gptmodel.optim.tables import TableAdam

MUON = {"optimizer": "muon", "muon_lr": 0.05, "muon_momentum": 0.8, "weight_decay": 0.2}


def lifted(matrix: np.ndarray) -> np.ndarray:
    """U f(S) V^T, where f is the quintic five times over, on S divided by its root of squares."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.sqrt((s**2).sum()) + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ vt


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 2, 7), (2, 9, 3), (2, 1, 5)])
def test_newton_schulz_is_the_polynomial_on_the_singular_values(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=generator(1), dtype=torch.float64)
    expected = np.stack([lifted(matrix) for matrix in matrices.numpy()])
    np.testing.assert_allclose(orthogonalize(matrices).numpy(), expected, rtol=1e-9, atol=1e-10)


def test_singular_values_come_near_one_whatever_the_scale() -> None:
    matrices = torch.randn(4, 16, 48, generator=generator(2)) * torch.tensor([1e-6, 1.0, 30.0, 1e5]).view(4, 1, 1)
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert not orthogonalize(torch.zeros(1, 3, 3)).any()


def test_a_training_in_bfloat16_orthogonalizes_in_it_too() -> None:
    gradient = torch.randn(8, 8, generator=generator(5))
    updates = {}
    for dtype in ("float32", "bfloat16"):
        model = small_model(n_layer=1)
        weight, before = model.blocks[0].sa.proj.weight, model.blocks[0].sa.proj.weight.detach().clone()
        for p in model.parameters():
            p.grad = gradient.clone() if p is weight else torch.zeros_like(p)
        build_optimizer(model, train_params(learning_rate=0.01, dtype=dtype, **(MUON | {"weight_decay": 0.0}))).step()
        updates[dtype] = (before - weight.detach()) / 0.05
    buffer = torch.zeros(8, 8).lerp(gradient, 1.0 - 0.8)
    for dtype, in_half in (("float32", False), ("bfloat16", True)):
        expected = orthogonalize(gradient.lerp(buffer, 0.8)[None], in_half=in_half)[0].float()
        torch.testing.assert_close(updates[dtype], expected, rtol=1e-4, atol=1e-4)
    difference = updates["bfloat16"] - updates["float32"]
    assert 0.01 < difference.norm() / updates["float32"].norm() < 0.1  # numbers of 8 bits


def test_five_updates_are_those_of_the_formula() -> None:
    model = scramble(small_model(n_layer=1, fused=False)).double()
    params = train_params(learning_rate=0.01, **MUON)
    matrices = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith("blocks.")}
    assert len(matrices) == 2 * 3 + 3  # key, query and value of two heads, proj, and two of the feed-forward
    random, optimizer = np.random.default_rng(3), build_optimizer(model, params)
    expected = {name: p.detach().numpy().copy() for name, p in model.named_parameters() if name in matrices}
    buffers = {name: np.zeros_like(value) for name, value in expected.items()}
    for _ in range(5):
        for name, p in model.named_parameters():
            gradient = random.normal(size=p.shape)
            p.grad = torch.from_numpy(gradient)
            if name not in matrices:
                continue
            buffers[name] = 0.8 * buffers[name] + 0.2 * gradient
            update = lifted(0.2 * gradient + 0.8 * buffers[name])
            m, n = gradient.shape
            expected[name] = expected[name] * (1 - 0.05 * 0.2) - 0.05 * max(1.0, m / n) ** 0.5 * update
        optimizer.step()
    for name, p in model.named_parameters():
        if name in matrices:
            np.testing.assert_allclose(p.detach().numpy(), expected[name], rtol=1e-8, atol=1e-9, err_msg=name)


def test_it_takes_the_matrices_of_the_blocks_and_nothing_else() -> None:
    model = small_model(ngram_orders=[2], position="learned")
    optimizer = build_optimizer(model, train_params(**MUON))
    assert isinstance(optimizer, Combined)
    assert [type(part) for part in optimizer.parts] == [Muon, Muon, AdamW, TableAdam]
    matrices = {id(p) for part in optimizer.parts[:2] for group in part.param_groups for p in group["params"]}
    blocks = [block for block in model.modules() if isinstance(block, Block)]
    assert matrices == {id(p) for block in blocks for p in block.parameters() if p.dim() == 2}


def test_both_forms_of_attention_are_updated_alike() -> None:
    """The fused weight is cut into the heads that the reference has, each orthogonalised by itself."""
    states = []
    for fused in (False, True):
        model = small_model(fused=fused, qkv_bias=True, tie_embeddings=True).double()
        optimizer = build_optimizer(model, train_params(**MUON))
        for t in range(3):
            optimizer.zero_grad()
            idx = torch.randint(11, (2, 8), generator=generator(t))
            nn.functional.cross_entropy(model(idx).flatten(0, 1), idx.roll(-1, 1).flatten()).backward()
            optimizer.step()
        states.append(model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-9, atol=1e-11, msg=name)


def test_a_loaded_state_goes_on_as_the_saved_one() -> None:
    """The parts share the state that was loaded: an update after it is the update that would have come."""

    def updated(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        for index, p in enumerate(model.parameters()):
            gradient = torch.randn(p.shape, generator=generator(100 * seed + index))
            p.grad = gradient.to_sparse(1) if p.size(0) > 100 else gradient  # the table of pairs has 144 rows
        optimizer.step()

    one, two = small_model(ngram_orders=[2]), small_model(5, ngram_orders=[2])
    first, second = (build_optimizer(model, train_params(**MUON)) for model in (one, two))
    updated(one, first, 1)
    two.load_state_dict(one.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # torch does not copy it
    for seed in (2, 3):
        updated(one, first, seed)
        updated(two, second, seed)
    assert equal_states(one.state_dict(), two.state_dict())
    assert len(second.state) == len(list(two.parameters()))
