"""Who does the iterations of a training: in turn, each waiting for its loss, or queued on a GPU."""

from typing import Protocol

import torch
from torch import Tensor, nn

from gptmodel.compute.place import Place
from gptmodel.config import Params
from gptmodel.data.batches import Splits, training_batch
from gptmodel.training.queued import Queued
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Forward, Update, training_step


class Iterations(Protocol):
    """Does one iteration after the other."""

    def do(self, iteration: int) -> None:
        """Do an iteration, counted from 0, or have it done soon.

        Raises TrainingError when the loss of this one, or of one before it, was not finite.
        """

    def loss(self) -> float:
        """Return the loss of the last iteration in nats; on a GPU this waits until all of them are done.

        Raises TrainingError like `do`.
        """


def iterations(forward: Forward, state: TrainingState, data: Splits, params: Params, place: Place) -> Iterations:
    """Return who trains the state's weights through `forward`.

    On a GPU they are queued, but for a model with sparse gradients: how many rows of a table a batch looked up is a
    number to wait for.
    """
    sparse = any(isinstance(module, nn.Embedding) and module.sparse for module in state.model.transformer.modules())
    if place.device.type == "cuda" and not sparse:
        assert isinstance(data.train, Tensor)
        return Queued(forward, state, data.train, params, place)
    return _InTurn(forward, state, data, params, place)


class _InTurn:
    def __init__(self, forward: Forward, state: TrainingState, data: Splits, params: Params, place: Place) -> None:
        self._forward, self._state, self._data, self._params, self._place = forward, state, data, params, place
        self._loss = torch.nan

    def do(self, iteration: int) -> None:
        train, state, place = self._params.train, self._state, self._place
        shape = train.batch_size, self._params.model.block_size
        batch = training_batch(self._data.train, train.seed, iteration, *shape, place.device)
        update = Update.at(iteration, self._params)
        self._loss = training_step(self._forward, state.optimizer, state.scaler, batch, update, place)

    def loss(self) -> float:
        return self._loss
