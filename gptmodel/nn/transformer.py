"""The language model: embeddings, blocks, and a linear decoder to the vocabulary.

Shapes: B batch, T time, C n_embd, V vocab.
"""

import math

import torch
from torch import Tensor, nn

from gptmodel.config import ModelParams
from gptmodel.nn.block import NORMS, Block
from gptmodel.nn.dropout import Dropout
from gptmodel.nn.embedding import NgramEmbedding, undrawn_embedding

EMBEDDING_STD = 0.02


class TransformerModel(nn.Module):
    """Decoder-only transformer (Vaswani et al. 2017; Radford et al. 2018) over token ids.

    `fused=False` builds it from the tutorial's heads; both forms share one checkpoint layout.
    """

    def __init__(self, params: ModelParams, vocab_size: int, *, fused: bool = True) -> None:
        super().__init__()
        self.params = params
        self.vocab_size = vocab_size
        C = params.n_embd
        self.encoder = undrawn_embedding(vocab_size, C)
        self.scale = math.sqrt(C) if params.scale_embedding else 1.0
        self.position = undrawn_embedding(params.block_size, C) if params.position == "learned" else None
        self.ngrams = (
            NgramEmbedding(params.ngram_orders, vocab_size, C, params.ngram_dropout) if params.ngram_orders else None
        )
        self.dropout = Dropout(params.dropout)
        self.blocks = nn.Sequential(
            *(
                Block(C, params.n_head, params.dropout, params.block_size, switches=params, fused=fused)
                for _ in range(params.n_layer)
            )
        )
        # the residual path of pre-norm is not normalised
        self.ln_f = NORMS[params.norm_type](C) if params.norm == "pre" else None
        self.decoder = nn.Linear(C, vocab_size, bias=params.decoder_bias)
        if params.tie_embeddings:  # one matrix with two names (Press and Wolf 2017)
            self.decoder.weight = self.encoder.weight
            self.register_state_dict_post_hook(_leave_out_tied)
            self.register_load_state_dict_pre_hook(_fill_in_tied)

    def forward(self, idx: Tensor) -> Tensor:
        """Map token ids (B, T), T at most block_size, to the logits of each next token (B, T, V)."""
        return self.logits(self.embed(idx))  # (B, T, V)

    def embed(self, idx: Tensor) -> Tensor:
        """Return what goes into the first block for idx (B, T), as (B, T, C)."""
        T = idx.size(1)
        if self.params.block_size < T:
            raise ValueError(f"{T} tokens do not fit block_size = {self.params.block_size}")
        x = self.encoder(idx)  # (B, T, C)
        if self.scale != 1.0:
            x = x * self.scale
        if self.position is not None:
            x = x + self.position.weight[:T]  # (B, T, C)
        if self.ngrams is not None:
            x = x + self.ngrams(idx)  # (B, T, C)
        return self.dropout(x)  # (B, T, C)

    def logits(self, x: Tensor) -> Tensor:
        """Return the transformer's logits (B, T, V) of what goes into the first block, x (B, T, C)."""
        x = self.blocks(x)  # (B, T, C)
        if self.ln_f is not None:
            x = self.ln_f(x)
        logits = self.decoder(x)  # (B, T, V)
        if cap := self.params.logit_softcap:  # Gemma 2 (Gemma Team 2024): no logit beyond the cap, smoothly
            logits = cap * torch.tanh(logits / cap)
        return logits


def _leave_out_tied(_module: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    """Let a file hold the tied matrix once, as that of the encoder."""
    del state[f"{prefix}decoder.weight"]


def _fill_in_tied(_module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    if f"{prefix}encoder.weight" in state:  # otherwise the strict load names what is missing
        state[f"{prefix}decoder.weight"] = state[f"{prefix}encoder.weight"]


def build_model(
    params: ModelParams, vocab_size: int, generator: torch.Generator, *, fused: bool = True
) -> TransformerModel:
    """Return a model whose weights are drawn from `generator` alone.

    Weights are drawn in the order of the checkpoint layout: both forms of attention start from the same ones.
    """
    with torch.random.fork_rng(devices=[]):  # the modules' own first weights are thrown away
        model = TransformerModel(params, vocab_size, fused=fused)
    model.load_state_dict(_initial_weights(model, generator))
    return model


def _initial_weights(model: TransformerModel, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform in +-1/sqrt(fan_in) for matrices, small normal for embeddings, ones for gains, zeros for biases.

    The tables of n-grams start at zero, so that an n-gram never seen in training adds nothing. With
    `zero_init` the last matrix of a sub-layer is zero: a block starts as the identity (Zhang et al. 2019, Fixup).
    """
    weights = {}
    for name, tensor in model.state_dict().items():
        value = torch.zeros_like(tensor)
        zero = model.params.zero_init and name.endswith((".proj.weight", ".net.2.weight"))
        if zero or name.startswith("ngrams."):
            pass
        elif name.startswith("encoder."):
            nn.init.normal_(value, std=EMBEDDING_STD, generator=generator)
        elif name.startswith("position."):  # as large as the token embedding is after its scaling
            nn.init.normal_(value, std=EMBEDDING_STD * model.scale, generator=generator)
        elif tensor.dim() > 1:
            nn.init.kaiming_uniform_(value, a=math.sqrt(5), generator=generator)
        elif ".ln" in name or name.startswith("ln_f"):
            value.fill_(1.0 if name.endswith("weight") else 0.0)
        weights[name] = value
    return weights
