"""Compiled trainings: blocks and loss in machine code made by `torch.compile`, where this machine can make it.

What is compiled is the way from the first block to the loss, forward and backward: embeddings, whose gradients may be
sparse, and the update stay as they are, and so does every evaluation.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.compiler import OPTIONS, first_line, quiet
from gptmodel.compute.place import Place
from gptmodel.config import TrainParams
from gptmodel.errors import CompileError, is_out_of_memory
from gptmodel.nn.dropout import draw_of_thread, dropping_as
from gptmodel.nn.transformer import TransformerModel
from gptmodel.training.step import Nats


def compiled(model: TransformerModel, train: TrainParams, place: Place) -> Nats:
    """Return the loss of the model in training mode, compiled now.

    Each part of a batch goes through it by itself. Raises CompileError when the compiler that was found fails. The
    weights stay those of the model.
    """
    torch.compiler.reset()  # it counts what it compiled for other trainings of this process, and refuses at eight
    from_embeddings = torch.compile(_nats, fullgraph=True, dynamic=False, options=OPTIONS[place.device.type])

    def pure(model: TransformerModel, x: Tensor, targets: Tensor, kept: list[Tensor]) -> Tensor:
        with dropping_as(_all_kept):  # the compiler looks at what was there before: with another it compiles again
            loss: Tensor = from_embeddings(model, x, targets, kept)
        return loss

    def nats(model: TransformerModel, idx: Tensor, targets: Tensor) -> Tensor:
        x = model.embed(idx)  # (B, T, C)
        return pure(model, x, targets, [draw_of_thread()(*draw) for draw in draws])

    shape = (-(-train.batch_size // place.parts), model.params.block_size, model.params.n_embd)
    x = torch.zeros(shape, device=place.device, requires_grad=True)  # (B, T, C)
    targets = torch.zeros(shape[:2], dtype=torch.int64, device=place.device)  # (B, T)
    if train.teacher_order:
        targets = F.one_hot(targets, model.vocab_size).float()  # (B, T, V)
    try:
        with quiet():
            with place.autocast():
                draws = _draws(model, x) if place.device.type == "cpu" else []
                loss = pure(model, x, targets, [_all_kept(*draw) for draw in draws])
            torch.autograd.grad(loss, x)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CompileError(f"the model does not compile ({first_line(error)}); set train.compile to false") from error
    return nats


def _draws(model: TransformerModel, x: Tensor) -> list[tuple[int, float]]:
    """Return the arguments of what dropout draws on a CPU, from the first block to the logits of x (B, T, C)."""
    draws = []

    def noted(count: int, dropout: float) -> Tensor:
        draws.append((count, dropout))
        return _all_kept(count, dropout)

    with torch.no_grad(), dropping_as(noted):
        model.logits(x)
    return draws


def _all_kept(count: int, _dropout: float) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def _nats(model: TransformerModel, x: Tensor, targets: Tensor, kept: list[Tensor]) -> Tensor:
    """Return the nats of all targets together, of what goes into the first block, x (B, T, C).

    `kept` is what dropout would draw on a CPU, one after the other.
    """
    given = iter(kept)
    with dropping_as(lambda _count, _dropout: next(given)):
        logits = model.logits(x)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(0, 1), reduction="sum")
