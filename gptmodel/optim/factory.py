"""The optimizer with its weight-decay groups, and the learning rate as a function of the iteration."""

import math
from collections.abc import Callable, Set
from typing import Any

from torch import Tensor, nn

from gptmodel.compute.crew import ALONE, Crew
from gptmodel.config import TrainParams
from gptmodel.optim.adamw import AdamW
from gptmodel.optim.base import Optimizer
from gptmodel.optim.combined import Combined
from gptmodel.optim.muon import Muon
from gptmodel.optim.sgd import SGD
from gptmodel.optim.tables import TableAdam


def build_optimizer(model: nn.Module, params: TrainParams, crew: Crew = ALONE) -> Optimizer:
    """Return the optimizer over all parameters of `model`.

    sgd is plain stochastic gradient descent, as in the tutorial; adamw is Loshchilov and Hutter 2019; muon is for the
    matrices of the blocks, with adamw for the rest. Weight decay pulls on the matrices of linear layers only: biases,
    gains and embedding tables are left alone. Where gradients are sparse, adamw becomes its lazy form, `TableAdam`.

    The `share` of a group is its learning rate as a share of `learning_rate`. Where several optimizers are at work, the
    threads of `crew` share them out.
    """
    parts = OPTIMIZERS[params.optimizer](model, params)
    return parts[0] if len(parts) == 1 else Combined(parts, crew)


def _sgd(model: nn.Module, params: TrainParams) -> list[Optimizer]:
    groups = [*_groups(model, params), _sparse_group(model, params)]
    return [SGD([group for group in groups if group["params"]], lr=params.learning_rate)]


def _adamw(model: nn.Module, params: TrainParams, excluded: Set[int] = frozenset()) -> list[Optimizer]:
    """Return AdamW for all weights but those whose ids are `excluded`, and its lazy form where gradients are sparse."""
    assert params.beta1 is not None
    assert params.beta2 is not None
    betas = (params.beta1, params.beta2)
    parts: list[Optimizer] = [AdamW(_groups(model, params, excluded), lr=params.learning_rate, betas=betas, fused=True)]
    sparse = _sparse_group(model, params)
    if sparse["params"]:
        parts.append(TableAdam([sparse], lr=params.learning_rate, betas=betas, floor=params.ngram_floor))
    return parts


def _muon(model: nn.Module, params: TrainParams) -> list[Optimizer]:
    assert params.muon_lr is not None
    assert params.muon_momentum is not None
    settings = {"lr": params.muon_lr, "momentum": params.muon_momentum, "weight_decay": params.weight_decay}
    in_half = params.dtype == "bfloat16"  # of which the forward pass makes use too
    matrices = _matrices(model, params.muon_lr / params.learning_rate)
    parts = [Muon(groups, **settings, in_half=in_half) for groups in matrices]
    excluded = {id(p) for part in parts for group in part.param_groups for p in group["params"]}
    return [*parts, *_adamw(model, params, excluded)]


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainParams], list[Optimizer]]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "muon": _muon,
}
"""What `train.optimizer` can be: each makes the optimizers that share out a model, those with the most work first."""


def _groups(model: nn.Module, params: TrainParams, excluded: Set[int] = frozenset()) -> list[dict[str, Any]]:
    """Return the group of the matrices, which decay, and that of all else; sparse tables and `excluded` are in none."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    tables = {id(module.weight) for module in embeddings}
    elsewhere = {id(module.weight) for module in embeddings if module.sparse} | excluded
    weights = [p for p in model.parameters() if id(p) not in elsewhere]
    decayed = [p for p in weights if p.dim() >= 2 and id(p) not in tables]
    others = [p for p in weights if p.dim() < 2 or id(p) in tables]
    return [
        {"params": decayed, "weight_decay": params.weight_decay, "share": 1.0},
        {"params": others, "weight_decay": 0.0, "share": 1.0},
    ]


def _sparse_group(model: nn.Module, params: TrainParams) -> dict[str, Any]:
    """Return the group of the tables whose gradients are sparse."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse]
    share = 1.0 if params.ngram_lr is None else params.ngram_lr / params.learning_rate
    return {"params": tables, "share": share}


def _matrices(model: nn.Module, share: float) -> list[list[dict[str, Any]]]:
    """Return Muon's groups, those of the feed-forward layers and those of attention, which take about as long.

    A group holds the weights of linear layers of the blocks whose pieces have as many rows.
    """
    groups: dict[str, dict[int | None, list[Tensor]]] = {".ffwd.": {}, ".sa.": {}}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("blocks."):
            (place,) = (place for place in groups if place in name)
            groups[place].setdefault(getattr(module, "piece_rows", None), []).append(module.weight)
    return [
        [{"params": weights, "rows": rows, "share": share} for rows, weights in by_rows.items()]
        for by_rows in groups.values()
    ]


def learning_rate_at(iteration: int, params: TrainParams) -> float:
    """Return the learning rate of an iteration, counted from 0: linear warm-up, then the schedule down to min_lr."""
    if iteration < params.warmup_iters:
        return params.learning_rate * (iteration + 1) / (params.warmup_iters + 1)
    if params.lr_schedule == "constant":
        return params.learning_rate
    progress = (iteration - params.warmup_iters) / (params.max_iters - params.warmup_iters)
    factor = 1.0 - progress if params.lr_schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return params.min_lr + (params.learning_rate - params.min_lr) * factor
