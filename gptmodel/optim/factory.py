"""The optimizer with its weight-decay groups, and the learning rate as a function of the iteration."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gptmodel.compute.crew import ALONE, Crew
from gptmodel.config import TrainParams
from gptmodel.optim.adamw import AdamW
from gptmodel.optim.combined import Combined
from gptmodel.optim.muon import Muon
from gptmodel.optim.tables import TableAdam


def build_optimizer(model: nn.Module, params: TrainParams, crew: Crew = ALONE) -> torch.optim.Optimizer:
    """Return the optimizer over all parameters of `model`.

    sgd is plain stochastic gradient descent, as in the tutorial; adamw is Loshchilov and Hutter 2019; muon is for the
    matrices of the blocks, with adamw for the rest. Weight decay pulls on the matrices of linear layers only: biases,
    gains and embedding tables are left alone. Where gradients are sparse, adamw becomes its lazy form, `TableAdam`.

    The `share` of a group is its learning rate as a share of `learning_rate`. Where several optimizers are at work, the
    threads of `crew` share them out.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    sparse = [module.weight for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse]
    left: list[Tensor] = [p for p in model.parameters() if not any(p is table for table in sparse)]
    parts: list[torch.optim.Optimizer] = []
    if params.optimizer == "sgd":
        groups = [*_groups(left, tables, params), {"params": sparse, "share": _table_share(params)}]
        return torch.optim.SGD([group for group in groups if group["params"]], lr=params.learning_rate)
    if params.optimizer == "muon":
        assert params.muon_lr is not None
        assert params.muon_momentum is not None
        settings = {"lr": params.muon_lr, "momentum": params.muon_momentum, "weight_decay": params.weight_decay}
        for groups in _matrices(model, params.muon_lr / params.learning_rate):
            parts.append(Muon(groups, **settings))
            taken = {id(p) for group in groups for p in group["params"]}
            left = [p for p in left if id(p) not in taken]
    assert params.beta1 is not None
    assert params.beta2 is not None
    betas = (params.beta1, params.beta2)
    parts.append(AdamW(_groups(left, tables, params), lr=params.learning_rate, betas=betas, fused=True))
    if sparse:
        group = {"params": sparse, "share": _table_share(params)}
        parts.append(TableAdam([group], lr=params.learning_rate, betas=betas, floor=params.ngram_floor))
    return parts[0] if len(parts) == 1 else Combined(parts, crew)


def _table_share(params: TrainParams) -> float:
    """Return the share of the tables with sparse gradients."""
    return 1.0 if params.ngram_lr is None else params.ngram_lr / params.learning_rate


def _groups(parameters: Sequence[Tensor], tables: set[int], params: TrainParams) -> list[dict[str, Any]]:
    """Return the group of the matrices, which decay, and that of all else."""
    decayed = [p for p in parameters if p.dim() >= 2 and id(p) not in tables]
    others = [p for p in parameters if p.dim() < 2 or id(p) in tables]
    return [
        {"params": decayed, "weight_decay": params.weight_decay, "share": 1.0},
        {"params": others, "weight_decay": 0.0, "share": 1.0},
    ]


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
    done = (iteration - params.warmup_iters) / (params.max_iters - params.warmup_iters)
    left = 1.0 - done if params.lr_schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return params.min_lr + (params.learning_rate - params.min_lr) * left
