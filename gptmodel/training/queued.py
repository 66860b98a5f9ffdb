"""Iterations that are queued on a device, and looked at later: nothing in one waits for the device.

What `training_step` knows as numbers lies on the device here. Where sequences start and the learning rates are sent
there for many iterations at once. Whether a loss was finite stays there too: from the first that was not, no iteration
updates anything, and whoever next looks at the loss is told which one it was. So an iteration can be captured as a CUDA
graph, which one call replays, where calling its kernels takes longer than they compute. Both ways run the same kernels.

Shapes: B batch, T time, V vocab; A iterations planned ahead.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gptmodel.compute.place import Place
from gptmodel.compute.tree import TreeSum
from gptmodel.config import Params
from gptmodel.data.batches import Ids, training_starts
from gptmodel.optim.factory import learning_rate_at
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Nats, Update, added, dropout, not_finite

AHEAD = 64  # iterations that are planned at once; twice as many are queued at most
WARM_UP = 5  # iterations before one is timed: libraries choose their kernels and reserve memory
LAUNCHING = 0.5  # share of an iteration's time that goes into calling kernels, from where on it is captured


class _Status(NamedTuple):
    """What is known of the iterations so far."""

    failed: float  # 1 once a loss or norm was not finite
    iteration: float  # the first of which that is so
    failed_loss: float
    norm: float
    loss: float  # of the last iteration


def queue_of(nats: Nats, state: TrainingState, tokens: Ids, params: Params, place: Place) -> "Queued | None":
    """Return who does the iterations of a training on a GPU; None elsewhere, for sparse gradients, a teacher or shards.

    How many rows of a table a batch looked up is a number to wait for, and counts are looked up in main memory.
    """
    sparse = any(isinstance(module, nn.Embedding) and module.sparse for module in state.model.transformer.modules())
    if sparse or params.train.teacher_order or place.sharded or not isinstance(tokens, Tensor):
        return None
    return Queued(nats, state, tokens, params, place)


class Queued:
    """Does one iteration after the other, on a device that holds the token ids of the train split."""

    def __init__(self, nats: Nats, state: TrainingState, tokens: Tensor, params: Params, place: Place) -> None:
        self._nats, self._state, self._tokens, self._params, self._place = nats, state, tokens, params, place
        self._model = state.model.transformer
        self._weights = [weight for group in state.optimizer.param_groups for weight in group["params"]]
        device, block_size = place.device, params.model.block_size
        self._offsets = torch.arange(block_size + 1, device=device)  # (T + 1,)
        self._starts = torch.zeros(AHEAD, params.train.batch_size, dtype=torch.int64, device=device)  # (A, B)
        self._rates = torch.zeros(AHEAD, device=device)  # (A,)
        self._row = torch.zeros(1, dtype=torch.int64, device=device)  # of these two, the next iteration's
        self._iteration = torch.zeros((), dtype=torch.float64, device=device)
        self._failed = torch.zeros((), device=device)
        self._status = torch.zeros(len(_Status._fields), dtype=torch.float64, device=device)
        self._planned = range(0)
        self._seen: tuple[Tensor, torch.cuda.Event] | None = None  # the status some iterations ago, on its way here
        self._done = 0
        # a replay seeds dropout once, and sends nothing to other processes
        one_part = place.parts == 1 or Update.at(0, params).dropout_seed is None
        self.chooses = place.device.type == "cuda" and one_part and place.world.size == 1
        """Whether it is still to be measured if capturing the iteration pays."""
        self.graph: torch.cuda.CUDAGraph | None = None
        """The iteration, where it was captured."""

    def do(self, iteration: int) -> Callable[[], float]:
        """Queue an iteration, counted from 0, and return what waits for the loss of the last one: ask at once.

        Raises TrainingError when an iteration before it is known to have failed.
        """
        if iteration not in self._planned:
            self._plan(iteration)
        self._update = Update.at(iteration, self._params)
        with dropout(self._update, 0, self._place):
            if self.graph is not None:
                self.graph.replay()
            elif self.chooses and self._done == WARM_UP:
                self._time()
            else:
                self._iterate()
        self._done += 1
        return self.loss

    def loss(self) -> float:
        """Return the loss of the last iteration in nats, when the device is there.

        Raises TrainingError when it, or one before it, was not finite.
        """
        return self._checked(self._status)

    def _plan(self, iteration: int) -> None:
        """Send to the device what the next iterations need, when all but the last such plan is used up."""
        self._look_back()
        train, block_size, tokens = self._params.train, self._params.model.block_size, len(self._tokens)
        self._planned = range(iteration, iteration + AHEAD)
        starts = [training_starts(tokens, train.seed, i, train.batch_size, block_size) for i in self._planned]
        rates = [learning_rate_at(min(i, train.max_iters - 1), train) for i in self._planned]
        self._send(torch.from_numpy(np.stack(starts)), self._starts)
        self._send(torch.tensor(rates), self._rates)
        self._row.zero_()
        self._iteration.fill_(iteration)

    def _send(self, values: Tensor, target: Tensor) -> None:
        pinned = values.pin_memory() if self._place.device.type == "cuda" else values
        target.copy_(pinned, non_blocking=True)

    def _look_back(self) -> None:
        """Wait for what was queued before the last plan, look at it, and ask for the status after the last plan."""
        if self._place.device.type != "cuda":
            return
        if self._seen is not None:
            status, arrived = self._seen
            arrived.synchronize()
            self._checked(status)
        status, arrived = self._status.to("cpu", non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self._seen = status, arrived

    def _checked(self, status: Tensor) -> float:
        values = _Status(*status.tolist())
        if values.failed:
            update = Update.at(int(values.iteration), self._params)
            if not np.isfinite(values.failed_loss):
                raise not_finite("loss", values.failed_loss, update)
            raise not_finite("norm of the gradient", values.norm, update)
        return values.loss

    def _time(self) -> None:
        """Do an iteration, and capture one where calling the kernels takes a large part of its time."""
        self.chooses = False
        device = self._place.device
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        self._iterate()
        called = time.perf_counter() - started
        torch.cuda.synchronize(device)
        if called > LAUNCHING * (time.perf_counter() - started):
            self.capture()

    def capture(self) -> None:
        """Capture the iteration as a CUDA graph, which is what is done from then on."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._iterate()
        self.graph = graph

    def _iterate(self) -> None:
        place, optimizer, scaler = self._place, self._state.optimizer, self._state.scaler
        starts = self._starts[self._row].view(-1, 1)  # (B, 1)
        ids = self._tokens[starts + self._offsets].long()  # (B, T + 1)
        own = place.world.share(place.parts)
        sums = TreeSum(len(own), added)
        for number, piece in zip(own, ids.tensor_split(place.parts)[own.start : own.stop], strict=True):
            idx, targets = piece[:, :-1].contiguous(), piece[:, 1:].contiguous()  # (B', T) each
            with dropout(self._update, number, place) if place.parts > 1 else nullcontext(), place.autocast():
                loss = self._nats(self._model, idx, targets) / (self._starts.size(1) * (len(self._offsets) - 1))
            if scaler.is_enabled():  # it decides by itself, so after a failure it gets gradients that it skips
                loss = loss * torch.where(self._failed > 0.0, torch.nan, 1.0)
            sums.put(number - own.start, [*torch.autograd.grad(scaler.scale(loss), self._weights), loss.detach()])
        *gradients, loss = place.world.summed(sums.total())
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        scaler.unscale_(optimizer)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self._note(loss, norm)
        if clip := self._params.train.grad_clip:
            torch._foreach_mul_(gradients, torch.clamp(clip / (norm + 1e-6), max=1.0))
        optimizer.rate, optimizer.found_inf = self._rates[self._row].squeeze(), self._failed
        scaler.step(optimizer)
        scaler.update()
        for weight in self._weights:
            weight.grad = None
        self._row.add_(1)
        self._iteration.add_(1.0)

    def _note(self, loss: Tensor, norm: Tensor) -> None:
        """Keep the loss, and the first iteration that failed; a scaler mends an infinite gradient by itself."""
        fine = loss.isfinite() if self._state.scaler.is_enabled() else loss.isfinite() & norm.isfinite()
        now = torch.stack([self._failed.double(), self._iteration, loss.double(), norm.double(), loss.double()])
        first = torch.cat([torch.ones_like(now[:1]), now[1:]])
        before = torch.cat([self._status[:4], now[4:]])
        failing = ~fine & (self._failed == 0.0)
        self._status.copy_(torch.where(failing, first, torch.where(self._failed > 0.0, before, now)))
        self._failed.copy_(torch.where(fine, self._failed, 1.0))
