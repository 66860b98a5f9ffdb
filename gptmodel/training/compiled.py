"""Compiled trainings: the blocks in machine code made by `torch.compile`, where this machine can make it.

What is compiled is the way from the first block to the logits, forward and backward: embeddings with sparse gradients
and the loss stay as they are, and so does every evaluation.
"""

import torch
from torch import Tensor

from gptmodel.compute.compiler import OPTIONS, first_line, quiet
from gptmodel.compute.place import Place
from gptmodel.errors import CompileError, is_out_of_memory
from gptmodel.nn.transformer import TransformerModel
from gptmodel.training.step import Forward


def compiled(model: TransformerModel, batch_size: int, place: Place) -> Forward:
    """Return the model in training mode as a function from idx (B, T) to logits (B, T, V), compiled now.

    Each part of a batch goes through it by itself. Raises CompileError when the compiler that was found fails. The
    weights stay those of the model.
    """
    logits = torch.compile(type(model).logits, fullgraph=True, dynamic=False, options=OPTIONS[place.device.type])

    def forward(idx: Tensor) -> Tensor:
        return logits(model, model.embed(idx))

    shape = (-(-batch_size // place.parts), model.params.block_size, model.params.n_embd)
    x = torch.zeros(shape, device=place.device, requires_grad=True)  # (B, T, C)
    try:
        with quiet():
            with place.autocast():
                out = logits(model, x)  # (B, T, V)
            torch.autograd.grad(out.sum(), x)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CompileError(f"the model does not compile ({first_line(error)}); set train.compile to false") from error
    return forward
