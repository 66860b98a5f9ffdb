"""The optimizer with its weight-decay groups, and the learning rate as a function of the iteration."""

import math

import torch
from torch import nn

from gptmodel.config import TrainParams


def build_optimizer(model: nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """Return the optimizer over all parameters of `model`.

    sgd is plain stochastic gradient descent, as in the tutorial; adamw is Loshchilov and Hutter 2019. Weight decay
    pulls on the matrices of linear layers only: biases, gains and embedding tables are left alone.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed = [p for p in model.parameters() if p.dim() >= 2 and id(p) not in tables]
    others = [p for p in model.parameters() if p.dim() < 2 or id(p) in tables]
    groups = [{"params": decayed, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=params.learning_rate)
    assert params.beta1 is not None
    assert params.beta2 is not None
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=(params.beta1, params.beta2), fused=True)


def learning_rate_at(iteration: int, params: TrainParams) -> float:
    """Return the learning rate of an iteration, counted from 0: linear warm-up, then the schedule down to min_lr."""
    if iteration < params.warmup_iters:
        return params.learning_rate * (iteration + 1) / (params.warmup_iters + 1)
    if params.lr_schedule == "constant":
        return params.learning_rate
    done = (iteration - params.warmup_iters) / (params.max_iters - params.warmup_iters)
    left = 1.0 - done if params.lr_schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return params.min_lr + (params.learning_rate - params.min_lr) * left
