"""When the evaluations of a training compute: between its iterations, or beside them on cores that would be idle.

Neither can change a result. Both score the weights as they were when the evaluation was due, and tell the rows in their
order and in the thread that trains.
"""

import copy
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from gptmodel.compute.place import Place
from gptmodel.evaluation.history import Evaluation
from gptmodel.language_model import LanguageModel

A_MOMENT = 0.001  # seconds, between the two splits of an evaluation
Evaluate = Callable[[LanguageModel, Place], Evaluation]
Tell = Callable[[Evaluation, LanguageModel], None]
"""Takes up a row, and the model that was evaluated, which the next evaluation changes."""


class Evaluator(Protocol):
    """Evaluates a model while it is trained."""

    def start(self, evaluate: Evaluate) -> None:
        """Evaluate the model as it is now; the row may be told later, but before that of the next evaluation."""

    def collect(self, *, wait: bool) -> None:
        """Tell the row of a started evaluation if it is done, or, with `wait`, when it is; raise what it raised."""


@contextmanager
def evaluator(model: LanguageModel, place: Place, tell: Tell) -> Iterator[Evaluator]:
    """Provide an evaluator of `model` by the threads of the place's crew, or by as many others beside them.

    It tells what is under way at the end of the block, however that ends: so a row is told, or what is wrong with it
    raised, before what goes wrong in a later iteration.
    """
    if not place.beside:
        yield _InTurn(model, place, tell)
        return
    with ThreadPoolExecutor(1, "evaluation", place.crew.begin) as thread:
        evaluations = _Beside(model, replace(place, crew=place.crew.double()), tell, thread)
        try:
            yield evaluations
        finally:
            evaluations.collect(wait=True)


class _InTurn:
    """Evaluates at once: the training waits."""

    def __init__(self, model: LanguageModel, place: Place, tell: Tell) -> None:
        self._model, self._place, self._tell = model, place, tell

    def start(self, evaluate: Evaluate) -> None:
        self._tell(evaluate(self._model, self._place), self._model)

    def collect(self, *, wait: bool) -> None: ...


class _Beside:
    """Evaluates a copy of the weights in another thread, one evaluation at a time; torch computes without the GIL.

    Where the next one is due before the last is done, the thread that trains takes a share of what is left.
    """

    def __init__(self, model: LanguageModel, place: Place, tell: Tell, thread: Executor) -> None:
        self._weights: list[Tensor] = list(model.transformer.parameters())
        self._copy = replace(model, transformer=copy.deepcopy(model.transformer))
        self._place, self._tell, self._thread = place, tell, thread
        self._pending: Future[Evaluation] | None = None

    def start(self, evaluate: Evaluate) -> None:
        self.collect(wait=True)
        with torch.no_grad():
            torch._foreach_copy_([*self._copy.transformer.parameters()], self._weights)
        self._pending = self._thread.submit(evaluate, self._copy, self._place)

    def collect(self, *, wait: bool) -> None:
        pending = self._pending
        while wait and pending is not None and not pending.done():  # rather than being idle, this thread lends a hand
            self._place.crew.join()
            futures.wait([pending], timeout=A_MOMENT)
        if pending is not None and pending.done():
            self._pending = None
            self._tell(pending.result(), self._copy)
