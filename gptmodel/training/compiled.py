"""Compiled trainings: blocks and loss in machine code made by `torch.compile`, where this machine can make it.

What is compiled is the way from the first block to the loss, forward and backward: embeddings, whose gradients may be
sparse, and the update stay as they are, and so does every evaluation.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.compiler import OPTIONS, first_line, quiet
from gptmodel.compute.place import Place
from gptmodel.errors import CompileError, is_out_of_memory
from gptmodel.nn.transformer import TransformerModel
from gptmodel.training.step import Nats


def compiled(model: TransformerModel, batch_size: int, place: Place) -> Nats:
    """Return the loss of the model in training mode, compiled now.

    Each part of a batch goes through it by itself. Raises CompileError when the compiler that was found fails. The
    weights stay those of the model.
    """
    from_embeddings = torch.compile(_nats, fullgraph=True, dynamic=False, options=OPTIONS[place.device.type])

    def nats(model: TransformerModel, idx: Tensor, targets: Tensor) -> Tensor:
        return from_embeddings(model, model.embed(idx), targets)

    shape = (-(-batch_size // place.parts), model.params.block_size, model.params.n_embd)
    x = torch.zeros(shape, device=place.device, requires_grad=True)  # (B, T, C)
    targets = torch.zeros(shape[:2], dtype=torch.int64, device=place.device)  # (B, T)
    try:
        with quiet():
            with place.autocast():
                loss = from_embeddings(model, x, targets)
            torch.autograd.grad(loss, x)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CompileError(f"the model does not compile ({first_line(error)}); set train.compile to false") from error
    return nats


def _nats(model: TransformerModel, x: Tensor, targets: Tensor) -> Tensor:
    """Return the nats of targets (B, T) together, of what goes into the first block, x (B, T, C)."""
    return F.cross_entropy(model.logits(x).flatten(0, 1).float(), targets.flatten(), reduction="sum")
