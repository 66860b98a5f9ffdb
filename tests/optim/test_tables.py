"""Adam for tables, on plain numbers: the formula, rows without a gradient, and what the floor is for."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gptmodel.optim.tables import TableAdam

ROWS, WIDTH = 6, 3


def table() -> Tensor:
    return torch.zeros(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)


def sparse(rows: list[int], values: np.ndarray) -> Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), torch.from_numpy(values), (ROWS, WIDTH), check_invariants=True
    ).coalesce()


@pytest.mark.parametrize("floor", [0.0, 0.5, 3.0])
def test_updates_are_those_of_the_formula(floor: float) -> None:
    p = table()
    optimizer = TableAdam([{"params": [p]}], lr=0.1, betas=(0.8, 0.95), floor=floor)
    random = np.random.default_rng(1)
    expected, m, v = (np.zeros((ROWS, WIDTH)) for _ in range(3))
    size = 0.0
    for t, rows in enumerate([[0, 2], [1, 2, 5], [2], [0, 5]], start=1):
        values = random.normal(size=(len(rows), WIDTH)) * 10.0**t
        p.grad = sparse(rows, values)
        optimizer.step()
        size = 0.99 * size + 0.01 * np.sqrt((values**2).mean())
        m[rows] = 0.8 * m[rows] + 0.2 * values
        v[rows] = 0.95 * v[rows] + 0.05 * values**2
        divisor = np.sqrt(v[rows] / (1 - 0.95**t)) + floor * size / (1 - 0.99**t) + 1e-8
        expected[rows] -= 0.1 * m[rows] / (1 - 0.8**t) / divisor
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-12)
    assert not p.detach()[[3, 4]].any()  # no gradient ever


def moved(floor: float) -> Tensor:
    """How far rows move whose gradients are 1 and 0.001."""
    p = table()
    optimizer = TableAdam([{"params": [p]}], lr=0.1, betas=(0.9, 0.99), floor=floor)
    p.grad = sparse([0, 1], np.array([[1.0] * WIDTH, [0.001] * WIDTH]))
    optimizer.step()
    return p.detach().abs()[:, 0]


def test_the_floor_holds_back_rows_with_small_gradients() -> None:
    assert moved(0.0)[:2].tolist() == pytest.approx([0.1, 0.1], rel=1e-4)  # plain Adam looks at the sign alone
    frequent, rare = moved(1.0)[:2].tolist()
    assert 0.05 < frequent < 0.1
    assert rare == pytest.approx(0.1 * 0.001 / (0.001 + 1.0 / np.sqrt(2)), rel=1e-3)


def test_a_gradient_of_zeros_changes_nothing() -> None:
    p = table()
    optimizer = TableAdam([{"params": [p]}], lr=0.1, betas=(0.9, 0.99), floor=1.0)
    p.grad = sparse([0], np.zeros((1, WIDTH)))
    optimizer.step()
    assert not p.detach().any()
