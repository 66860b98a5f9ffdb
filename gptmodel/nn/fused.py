"""The fast twin of `attention.MultiHeadAttention`: all heads in one product, same checkpoint layout.

Files of either twin load into the other: the state dict holds `heads.H.key.weight` and so on, and the fused
weight is cut apart and put together at that border.

Shapes: B batch, T time, C n_embd, nh heads, hs head size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.config import TUTORIAL, ModelParams, Switches
from gptmodel.nn.dropout import Dropout
from gptmodel.nn.embedding import Rotary
from gptmodel.nn.kernels import rms_norm

PARTS = ("query", "key", "value")
SHORT_BLOCK = 64  # up to here plain products beat torch's attention kernel on a CPU, forward and backward
SHORT_BLOCK_IN_HALF = 512  # the same in bfloat16, for which that kernel is slow backward


class StackedLinear(nn.Linear):
    """Matrices of `piece_rows` rows, one above the other: an optimizer that works on matrices takes each by itself."""

    def __init__(self, in_features: int, out_features: int, piece_rows: int, *, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.piece_rows = piece_rows


class FusedMultiHeadAttention(nn.Module):
    """Causal multi-head attention with one fused query-key-value product.

    The rest is torch's attention kernel or, on a CPU where that is slower, two batched products and a softmax: see
    `is_plain`.
    """

    future: Tensor | None

    def __init__(
        self,
        num_heads: int,
        head_size: int,
        *,
        block_size: int,
        dropout: float = 0.0,
        switches: Switches = TUTORIAL,
    ) -> None:
        super().__init__()
        n_embd = num_heads * head_size
        self.num_heads = num_heads
        self.head_size = head_size
        self.block_size = block_size
        # rows: all queries, all keys, all values
        self.qkv = StackedLinear(n_embd, 3 * n_embd, head_size, bias=switches.qkv_bias)
        self.proj = nn.Linear(n_embd, n_embd)
        self.dropout = Dropout(dropout)
        self.attention_dropout = Dropout(switches.dropout_of_attention(dropout))
        self.rotary = Rotary(head_size, block_size) if switches.position == "rotary" else None
        self.qk_norm = switches.qk_norm
        masked = is_plain(block_size, self.attention_dropout.p, torch.bfloat16)  # float32 needs it for fewer blocks
        future = torch.full((block_size, block_size), float("-inf")) if masked else None
        if future is not None and not future.is_meta:  # there only the size is asked for
            future.triu_(1)
        self.register_buffer("future", future, persistent=False)  # added to the weights of what is not to be seen
        self.register_state_dict_post_hook(_split_heads)
        self.register_load_state_dict_pre_hook(_join_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        B, T, C = x.shape
        q, k, v = self._parts(self.qkv(x).view(B, T, 3, self.num_heads, self.head_size))  # (B, nh, T, hs) each
        plain = x.device.type == "cpu" and is_plain(self.block_size, self.attention_dropout.p, q.dtype)
        if self.future is not None and plain:
            out = _plain_attention(q, k, v, self.future[:T, :T], self.attention_dropout)
        else:
            dropout = self.attention_dropout.p if self.training else 0.0
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)  # (B, nh, T, hs)
        out = out.transpose(1, 2).reshape(B, T, C)  # (B, T, nh * hs)
        return self.dropout(self.proj(out))  # (B, T, C)

    def _parts(self, qkv: Tensor) -> Sequence[Tensor]:
        """Return q, k and v (B, nh, T, hs) of qkv (B, T, 3, nh, hs), the first two as attention is to compare them."""
        if not self.qk_norm and self.rotary is None:
            parts = qkv.permute(2, 0, 3, 1, 4)  # (3, B, nh, T, hs)
            if qkv.device.type == "cpu":  # elsewhere the kernels take them as they lie
                parts = parts.contiguous()  # one copy costs less than three
            return parts.unbind(0)
        qk, v = qkv.tensor_split((2,), dim=2)
        if self.qk_norm:
            qk = rms_norm(qk)
        if self.rotary is not None:
            qk = self.rotary(qk)
        return [part.transpose(1, 2) for part in (*qk.unbind(2), v.squeeze(2))]


def is_plain(block_size: int, dropout: float, dtype: torch.dtype) -> bool:
    """Tell whether a CPU attends without torch's kernel: where that is slower, and with dropout, which it has not."""
    return dropout > 0.0 or block_size <= (SHORT_BLOCK_IN_HALF if dtype.itemsize == 2 else SHORT_BLOCK)


def can_attend(model: ModelParams, device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether the attention that a model needs on a device computes in `dtype` there, by trying a small one.

    In bfloat16 torch's kernel fails on some processors with AVX512 if torch was told to use less of it.
    """
    if device.type != "cpu" or is_plain(model.block_size, model.dropout_of_attention(model.dropout), dtype):
        return True
    part = torch.zeros(1, 1, SHORT_BLOCK_IN_HALF + 1, 8, dtype=dtype)  # (B, nh, T, hs)
    try:
        F.scaled_dot_product_attention(part, part, part, is_causal=True)
    except RuntimeError:
        return False
    return True


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, future: Tensor, dropout: nn.Module) -> Tensor:
    """Attend with q, k, v (B, nh, T, hs) and the mask to add (T, T)."""
    B, nh, T, hs = q.shape
    q, k, v = (part.reshape(B * nh, T, hs) for part in (q, k, v))
    weights = torch.baddbmm(future.to(q.dtype), q, k.transpose(1, 2), alpha=hs**-0.5)  # (B * nh, T, T)
    weights = dropout(F.softmax(weights, dim=-1))
    return torch.bmm(weights, v).view(B, nh, T, hs)  # (B, nh, T, hs)


def _kinds(module: "FusedMultiHeadAttention") -> tuple[str, ...]:
    return ("weight",) if module.qkv.bias is None else ("weight", "bias")


def _split_heads(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]) -> None:
    assert isinstance(module, FusedMultiHeadAttention)
    heads, kinds = range(module.num_heads), _kinds(module)
    pieces: dict[tuple[int, str, str], Tensor] = {}  # (hs, C) each, of biases (hs,)
    for kind in kinds:
        names = ((head, part, kind) for part in PARTS for head in heads)
        pieces |= dict(zip(names, state.pop(f"{prefix}qkv.{kind}").split(module.head_size), strict=True))
    proj = {key: state.pop(key) for key in (f"{prefix}proj.weight", f"{prefix}proj.bias")}
    # in the order of the reference, so that the bytes of a file do not tell which twin wrote it
    for head in heads:
        for part in ("key", "query", "value"):
            for kind in kinds:
                state[f"{prefix}heads.{head}.{part}.{kind}"] = pieces[head, part, kind]
    state.update(proj)


def _join_heads(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, FusedMultiHeadAttention)
    for kind in _kinds(module):
        keys = [f"{prefix}heads.{head}.{part}.{kind}" for part in PARTS for head in range(module.num_heads)]
        if all(key in state for key in keys):  # otherwise the strict load names what is missing
            state[f"{prefix}qkv.{kind}"] = torch.cat([state.pop(key) for key in keys])
