"""The learning rate by a table worked by hand, the updates by arithmetic in numpy, and who is decayed."""

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import ROOT, scramble, small_model, train_params
from torch import nn

from gptmodel.config import TrainParams
from gptmodel.optim.adamw import AdamW
from gptmodel.optim.factory import build_optimizer, learning_rate_at
from gptmodel.optim.sgd import SGD

HALF = 0.5 * math.sqrt(2.0)
SCHEDULES = [
    # (settings, {iteration: learning rate}); the learning rate is 1.0 throughout
    ({}, {0: 1.0, 3: 1.0, 7: 1.0}),
    ({"warmup_iters": 4}, {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 1.0, 7: 1.0}),
    ({"lr_schedule": "linear"}, {0: 1.0, 2: 0.75, 4: 0.5, 7: 0.125, 8: 0.0}),
    ({"lr_schedule": "linear", "min_lr": 0.2}, {0: 1.0, 4: 0.6, 7: 0.3, 8: 0.2}),
    ({"lr_schedule": "linear", "warmup_iters": 4, "min_lr": 0.2}, {0: 0.2, 3: 0.8, 4: 1.0, 6: 0.6, 8: 0.2}),
    ({"lr_schedule": "cosine"}, {0: 1.0, 2: 0.5 + HALF / 2, 4: 0.5, 6: 0.5 - HALF / 2, 8: 0.0}),
    (
        {"lr_schedule": "cosine", "warmup_iters": 4, "min_lr": 0.2},
        {0: 0.2, 3: 0.8, 4: 1.0, 5: 0.6 + 0.4 * HALF, 6: 0.6},
    ),
    ({"lr_schedule": "cosine", "min_lr": 1.0}, {0: 1.0, 5: 1.0, 8: 1.0}),
    ({"lr_schedule": "constant", "min_lr": 0.2}, {0: 1.0, 7: 1.0}),
]


@pytest.mark.parametrize(("settings", "table"), SCHEDULES, ids=str)
def test_the_learning_rate_of_each_iteration(settings: dict[str, object], table: dict[int, float]) -> None:
    params = train_params(learning_rate=1.0, max_iters=8, **settings)
    assert {t: learning_rate_at(t, params) for t in table} == pytest.approx(table, rel=1e-12, abs=1e-15)


def update_by_hand(params: TrainParams, first: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """What the papers say."""
    p, m, v = first.copy(), np.zeros_like(first), np.zeros_like(first)
    lr, b1, b2 = params.learning_rate, params.beta1, params.beta2
    for t, g in enumerate(gradients, start=1):
        if params.optimizer == "sgd":
            p = p - lr * (g + decay * p)
            continue
        assert b1 is not None
        assert b2 is not None
        p = p - lr * decay * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    return p


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_ten_updates_are_those_of_the_formula(optimizer: str) -> None:
    params = train_params(optimizer=optimizer, learning_rate=0.03, weight_decay=0.2, beta1=0.8, beta2=0.95)
    model = scramble(small_model(n_layer=1, ngram_orders=[2])).double()
    random = np.random.default_rng(3)
    first = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    gradients = {name: [random.normal(size=value.shape) for _ in range(10)] for name, value in first.items()}
    built = build_optimizer(model, params)
    for t in range(10):
        for name, parameter in model.named_parameters():
            gradient = torch.from_numpy(gradients[name][t])
            parameter.grad = gradient.to_sparse(1) if "ngrams" in name and optimizer != "sgd" else gradient
        built.step()
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert len(linear) == 5
    for name, parameter in model.named_parameters():
        decay = 0.2 if name in linear else 0.0
        expected = update_by_hand(params, first[name], gradients[name], decay)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("changes", [{}, {"norm": "pre"}, {"qkv_bias": True, "tie_embeddings": True}], ids=str)
def test_every_parameter_is_updated_once_and_linear_matrices_alone_decay(
    optimizer: str, fused: bool, changes: dict[str, Any]
) -> None:
    model = small_model(ngram_orders=[2, 3], fused=fused, **changes)
    params = train_params(optimizer=optimizer, weight_decay=0.3, muon_lr=0.1, muon_momentum=0.9)
    groups = build_optimizer(model, params).param_groups
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    decayed = {id(parameter) for group in groups if group.get("weight_decay") == 0.3 for parameter in group["params"]}
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    assert decayed == matrices - {id(model.encoder.weight)}  # a tied decoder is an embedding table
    assert {group.get("weight_decay", 0.0) for group in groups} == {0.3, 0.0}


def test_the_settings_reach_the_optimizer() -> None:
    sgd = build_optimizer(small_model(), train_params(optimizer="sgd", learning_rate=0.7, beta1=None, beta2=None))
    assert type(sgd) is SGD
    assert {(group["lr"], group["momentum"], group["nesterov"]) for group in sgd.param_groups} == {(0.7, 0, False)}
    adamw = build_optimizer(small_model(), train_params(learning_rate=0.7, beta1=0.5, beta2=0.6))
    assert type(adamw) is AdamW
    assert {(group["lr"], group["betas"], group["amsgrad"]) for group in adamw.param_groups} == {
        (0.7, (0.5, 0.6), False)
    }


def test_a_first_update_and_the_memory_estimate_import_no_compiler() -> None:
    """Which would take a second or two of each start, and no training but a compiled one uses it."""
    code = """
import sys
import torch
from gptmodel.optim.factory import build_optimizer
from gptmodel.training.memory import estimate_bytes
from model_helpers import small_model, train_params

for name in ("sgd", "adamw", "muon"):
    model = small_model(ngram_orders=[2], dropout=0.1)
    params = train_params(optimizer=name, muon_lr=0.02, muon_momentum=0.95)
    estimate_bytes(model.params, params, 60, 1000, threads=1, beside=False)
    optimizer = build_optimizer(model, params)
    optimizer.zero_grad()
    model(torch.zeros(2, 4, dtype=torch.long)).square().mean().backward()
    for table in model.ngrams.parameters():
        table.grad = table.grad.coalesce()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
assert not {"torch._dynamo", "sympy"} & sys.modules.keys()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
