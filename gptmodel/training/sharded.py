"""A model larger than one card: weights, gradients and averages lie in shards, one at each process, by torch's FSDP2.

A block is put together from its shards when it is about to compute, and only the own shard of its gradient stays
behind it (Rajbhandari et al. 2020, ZeRO; Zhao et al. 2023, PyTorch FSDP). So the forward pass is one of all processes,
which make as many of them. Outside of an iteration there is no trace of shards: a training starts from a whole state
in main memory, and snapshots and model.pth hold whole tensors.
"""

import copy
import math
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gptmodel.compute.place import Place
from gptmodel.config import TrainParams
from gptmodel.nn.transformer import TransformerModel
from gptmodel.optim.factory import build_optimizer
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Nats, Update, clip_and_update, dropout, nats_of_all, not_finite


class Shards:
    """The state of a training in shards, and the whole one that they come from and are gathered in."""

    def __init__(self, whole: TrainingState, train: TrainParams, place: Place) -> None:
        """Take the state apart; `whole` lies in main memory, where the first process keeps it for `gathered`."""
        transformer = copy.deepcopy(whole.model.transformer)
        _shard(transformer, place)
        optimizer = build_optimizer(transformer, train)
        for weight, shard in zip(whole.model.transformer.parameters(), transformer.parameters(), strict=True):
            if values := whole.optimizer.state[weight]:
                optimizer.state[shard] = {name: _like(shard, value) for name, value in values.items()}
        self.state = replace(whole, model=replace(whole.model, transformer=transformer), optimizer=optimizer)
        self._whole = whole if place.world.is_first else None

    def gathered(self) -> TrainingState | None:
        """Return the whole state at the first process, and None elsewhere; all processes have to call it."""
        own, whole = self.state, self._whole
        weights = list(own.model.transformer.parameters())
        targets = [None] * len(weights) if whole is None else list(whole.model.transformer.parameters())
        with torch.no_grad():
            for shard, weight in zip(weights, targets, strict=True):
                values = {name: _full(value) for name, value in own.optimizer.state[shard].items()}
                content = _full(shard)  # one weight at a time: more would not fit
                if whole is not None and weight is not None:
                    weight.copy_(content)
                    whole.optimizer.state[weight] = values
        if whole is not None:
            whole.iteration, whole.seconds, whole.history = own.iteration, own.seconds, own.history
        return whole


def sharded_step(
    model: TransformerModel,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batch: tuple[Tensor, Tensor],
    update: Update,
    place: Place,
    nats: Nats = nats_of_all,
) -> float:
    """Do what `training_step` does with a model in shards: each process computes the part of its number.

    The gradients are added by FSDP2, in an order of its own: the result is that of `training_step` within rounding.
    """
    part = place.world.rank
    idx, targets = (tensor.tensor_split(place.parts)[part] for tensor in batch)  # (B', T), (B', T) or (B', T, V)
    with dropout(update, part, place), place.autocast():
        loss = nats(model, idx, targets) / batch[0].numel()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad.to_local() for weight in weights]
        square = torch.stack(torch._foreach_norm(gradients)).square().sum()
        loss, square = place.world.summed([loss.detach(), square])
        if not math.isfinite(loss.item()):
            raise not_finite("loss", loss.item(), update)
        clip_and_update(optimizer, scaler, gradients, square.sqrt(), update)
    for weight in weights:
        weight.grad = None  # backward would add to it
    return loss.item()


def _shard(transformer: TransformerModel, place: Place) -> None:
    """Leave a shard of each weight at this process, on the place's device.

    Blocks are gathered one by one, in the place's dtype, and all else as long as a pass takes.
    """
    # imported where it is needed: it takes seconds
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    # of changes in place to what the model returns, of which there are none
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")
    half = place.dtype if place.dtype != torch.float32 else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    mesh = init_device_mesh(place.device.type, (place.world.size,))
    for block in transformer.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # the weights around the blocks too: they would stay whole after an evaluation
    around = replace(policy, output_dtype=torch.float32)
    fully_shard(transformer, mesh=mesh, mp_policy=around, reshard_after_forward=True)
    for module in transformer.modules():
        if isinstance(module, FSDPModule):  # the loss of a part is its share of the mean: gradients are added
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _like(shard: Any, value: Any) -> Any:
    """Return the own shard of what an optimizer keeps of a weight, or the value of what is none of its numbers."""
    from torch.distributed.tensor import distribute_tensor

    if not isinstance(value, Tensor):
        return value
    value = value.to(shard.device)
    if value.shape != shard.shape:
        return value
    return distribute_tensor(value, shard.device_mesh, shard.placements, src_data_rank=None)


def _full(value: Any) -> Any:
    """Return a tensor whole and in main memory, and all else as it is."""
    from torch.distributed.tensor import DTensor

    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.to("cpu", copy=True) if isinstance(value, Tensor) else value
