"""When the evaluations of a training compute: between its iterations, or beside them on cores that would be idle.

Neither can change a result. Both score the weights as they were when the evaluation was due, and tell the rows in their
order and in the thread that trains.
"""

import copy
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import torch

from gptmodel.compute.crew import Crew
from gptmodel.evaluation.history import Evaluation
from gptmodel.nn.transformer import TransformerModel

A_MOMENT = 0.001  # seconds, between the two splits of an evaluation
Evaluate = Callable[[TransformerModel, Crew], Evaluation]
Tell = Callable[[Evaluation], None]


def has_idle_cores(device: torch.device, threads: int) -> bool:
    """Whether evaluations can compute beside the iterations: on a CPU that has as many cores again as threads train.

    The cores are those this process may use. A GPU is busy with the iterations alone.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return device.type == "cpu" and there >= 2 * threads


class Evaluator(Protocol):
    """Evaluates a model while it is trained."""

    def start(self, evaluate: Evaluate) -> None:
        """Evaluate the model as it is now; the row may be told later, but before that of the next evaluation."""

    def collect(self, *, wait: bool) -> None:
        """Tell the row of a started evaluation if it is done, or, with `wait`, when it is; raise what it raised."""


@contextmanager
def evaluator(model: TransformerModel, crew: Crew, tell: Tell, *, beside: bool) -> Iterator[Evaluator]:
    """Provide an evaluator of `model` by the threads of `crew`, or by as many others.

    It tells what is under way at the end of the block, however that ends: so a row is told, or what is wrong with it
    raised, before what goes wrong in a later iteration.
    """
    if not beside:
        yield _InTurn(model, crew, tell)
        return
    with ThreadPoolExecutor(1, "evaluation", crew.begin) as thread:
        evaluations = _Beside(model, crew.double(), tell, thread)
        try:
            yield evaluations
        finally:
            evaluations.collect(wait=True)


class _InTurn:
    """Evaluates at once: the training waits."""

    def __init__(self, model: TransformerModel, crew: Crew, tell: Tell) -> None:
        self._model, self._crew, self._tell = model, crew, tell

    def start(self, evaluate: Evaluate) -> None:
        self._tell(evaluate(self._model, self._crew))

    def collect(self, *, wait: bool) -> None: ...


class _Beside:
    """Evaluates a copy of the weights in another thread, one evaluation at a time; torch computes without the GIL.

    Where the next one is due before the last is done, the thread that trains takes a share of what is left.
    """

    def __init__(self, model: TransformerModel, crew: Crew, tell: Tell, thread: Executor) -> None:
        self._model, self._crew, self._tell, self._thread = model, crew, tell, thread
        self._copy = copy.deepcopy(model)
        self._pending: Future[Evaluation] | None = None

    def start(self, evaluate: Evaluate) -> None:
        self.collect(wait=True)
        with torch.no_grad():
            torch._foreach_copy_(list(self._copy.parameters()), list(self._model.parameters()))
        self._pending = self._thread.submit(evaluate, self._copy, self._crew)

    def collect(self, *, wait: bool) -> None:
        pending = self._pending
        while wait and pending is not None and not pending.done():  # rather than being idle, this thread lends a hand
            self._crew.join()
            futures.wait([pending], timeout=A_MOMENT)
        if pending is not None and pending.done():
            self._pending = None
            self._tell(pending.result())
