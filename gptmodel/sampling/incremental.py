"""The lean twin of `LanguageModel.predict` for inference: reads ids as they come, gives the next id's logits alone.

At the sizes of a laptop one new position costs less in arithmetic than in calls of torch, so each block is a handful of
calls on weights looked up once; a walk through nn.Module takes about twice the time. Where many positions are read at
once, the last block attends and feeds forward for the last of them only.

It copies the matrices of its model, each as its product wants it to lie, and shares the other weights: who draws from
a model again and again keeps one, and a model that was trained on needs a new one (`is_current`). It gives no
gradients, and has to compute what `predict` does under every switch of `ModelParams`; a test goes through all of them.

Shapes: B batch, T new ids, S ids so far, C n_embd, nh heads, hs head size, V vocab.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptmodel.language_model import LanguageModel
from gptmodel.nn.attention import MultiHeadAttention
from gptmodel.nn.block import Block
from gptmodel.nn.embedding import Rotary
from gptmodel.nn.fused import PARTS, FusedMultiHeadAttention
from gptmodel.sampling.kv_cache import KVCache

Function = Callable[[Tensor], Tensor]


class IncrementalModel:
    """A model, put into eval mode, as a function of new ids and of what a `KVCache` holds of those before them."""

    def __init__(self, language_model: LanguageModel) -> None:
        model = language_model.transformer.eval()
        self.language_model, self._model, self._copied = language_model, model, _state(model)
        self._encoder = model.encoder.weight.detach()  # (V, C)
        self._position = model.position.weight.detach() if model.position is not None else None  # (block_size, C)
        self._blocks = [_Block(block, model.params.n_head) for block in model.blocks]  # type: ignore[arg-type]
        self._ln_f = _lean(model.ln_f) if model.ln_f is not None else None
        self._decoder = _lean(model.decoder)
        self._reach = max(model.params.ngram_orders, default=1) - 1  # ids that an n-gram takes from before its own

    @property
    def is_current(self) -> bool:
        """Whether the weights are those that were copied, as far as torch counts what changes them."""
        return self._copied == _state(self._model)

    def new_cache(self, batch_size: int) -> KVCache:
        """Return an empty cache for `batch_size` texts, on the device and in the precision of the weights."""
        weight = self._encoder
        return KVCache(self._model.params, batch_size, device=weight.device, dtype=weight.dtype)

    def next_logits(self, idx: Tensor, cache: KVCache) -> Tensor:
        """Read idx (B, T) behind the ids of `cache`, and return the logits of the id that follows them (B, V).

        With an empty cache T is at most block_size, otherwise 1; ValueError for more.
        """
        start = cache.extend(idx)
        x = self._embed(idx, start, cache.idx)  # (B * T, C)
        last = len(self._blocks) - 1
        for number, (block, memory) in enumerate(zip(self._blocks, cache.layers(start), strict=True)):
            x = block.forward(x, *memory, start=start, last_only=number == last)  # (B * T, C), at last (B, C)
        logits = self._decoder(x if self._ln_f is None else self._ln_f(x))  # (B, V)
        if cap := self._model.params.logit_softcap:
            logits = cap * torch.tanh(logits / cap)
        if (counts := self.language_model.counts) is None:
            return logits
        p = counts.probabilities(cache.idx[:, -counts.order :])[:, -1]  # (B, V)
        return counts.mixed(logits, p)

    def _embed(self, idx: Tensor, start: int, context: Tensor) -> Tensor:
        """Return what the first block gets of idx (B, T), the last of the ids `context` (B, S), as (B * T, C)."""
        model, T = self._model, idx.size(1)
        x = torch.embedding(self._encoder, idx)  # (B, T, C)
        if model.scale != 1.0:
            x = x * model.scale
        if self._position is not None:
            x = x + self._position[start : start + T]  # (B, T, C)
        if model.ngrams is not None:
            x = x + model.ngrams(context[:, max(0, start - self._reach) :]).detach()[:, -T:]  # (B, T, C)
        return x.flatten(0, 1)  # (B * T, C)


class _Block:
    """A block as a few functions of rows, one for each position."""

    def __init__(self, block: Block, n_head: int) -> None:
        up, activation, down, _ = block.ffwd.net
        self.pre, self.n_head = block.pre, n_head
        self.ln1, self.ln2 = _lean(block.ln1), _lean(block.ln2)
        self.up, self.activation, self.down = _lean(up), _lean(activation), _lean(down)
        self.qkv, self.proj = _product(*_qkv(block.sa)), _lean(block.sa.proj)
        self.zero = block.sa.proj.weight.new_zeros(())  # what torch.baddbmm wants to add
        sa = block.sa.heads[0] if isinstance(block.sa, MultiHeadAttention) else block.sa
        self.qk_norm: bool = sa.qk_norm  # type: ignore[assignment]
        self.rotary: Rotary | None = sa.rotary  # type: ignore[assignment]

    def forward(self, x: Tensor, kv: Tensor, keys: Tensor, values: Tensor, *, start: int, last_only: bool) -> Tensor:
        """Map x (B * T, C) to the same, or with `last_only` to the last position of each text (B, C).

        `kv` (2, B * nh, T, hs) is where its keys and values go, `keys` and `values` (B * nh, S, hs) hold all so far.
        """
        q = self._queries(self.ln1(x) if self.pre else x, kv, start)  # (B * nh, T, hs)
        T = q.size(1)
        if last_only and T > 1:
            q, x = q[:, -1:], x[T - 1 :: T]  # (B * nh, 1, hs), (B, C)
        x = x + self.proj(self._attend(q, keys, values))
        if self.pre:
            return x + self.down(self.activation(self.up(self.ln2(x))))
        x = self.ln1(x)
        return self.ln2(x + self.down(self.activation(self.up(x))))

    def _queries(self, x: Tensor, kv: Tensor, start: int) -> Tensor:
        """Return the queries of x (B * T, C) as (B * nh, T, hs), and put its keys and values into `kv`."""
        rows, T, hs = kv.shape[1:]
        qkv = self.qkv(x).view(-1, T, 3, self.n_head, hs)  # (B, T, 3, nh, hs)
        target = kv.view(2, -1, self.n_head, T, hs)  # (2, B, nh, T, hs)
        if self.qk_norm or self.rotary is not None:
            qk, v = qkv[:, :, :2], qkv[:, :, 2]
            if self.qk_norm:
                qk = F.rms_norm(qk, (hs,))
            if self.rotary is not None:
                qk = self.rotary(qk, start)
            q, k = qk.unbind(2)  # (B, T, nh, hs) each
            target[0].copy_(k.transpose(1, 2))
            target[1].copy_(v.transpose(1, 2))
        else:
            q = qkv[:, :, 0]
            target.copy_(qkv[:, :, 1:].permute(2, 0, 3, 1, 4))
        return q.transpose(1, 2).reshape(rows, T, hs)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend with q (B * nh, T, hs), T = 1 or S, to keys and values (B * nh, S, hs); return (B * T, C)."""
        _, T, hs = q.shape
        width = self.n_head * hs
        if T == 1:
            weights = torch.baddbmm(self.zero, q, keys.transpose(1, 2), beta=0, alpha=hs**-0.5)  # (B * nh, 1, S)
            return torch.bmm(torch.softmax(weights, -1), values).view(-1, width)  # (B, C)
        q, keys, values = (part.view(-1, self.n_head, T, hs) for part in (q, keys, values))  # (B, nh, T, hs) each
        out = F.scaled_dot_product_attention(q, keys, values, is_causal=True)  # (B, nh, T, hs)
        return out.transpose(1, 2).reshape(-1, width)  # (B * T, C)


def _state(model: nn.Module) -> list[tuple[int, int]]:
    """Return where each weight lies and how often it was changed there, which a tensor of inference mode never is."""
    return [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in model.parameters()]


def _qkv(attention: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return the weights (3 * C, C) of the queries, keys and values of all heads, and the biases (3 * C,) if any."""
    if isinstance(attention, FusedMultiHeadAttention):
        return _weight_and_bias(attention.qkv)
    heads = list(attention.heads)  # type: ignore[arg-type]
    weights, biases = zip(*(_weight_and_bias(getattr(head, part)) for part in PARTS for head in heads), strict=True)
    return torch.cat(weights), None if biases[0] is None else torch.cat(biases)


def _weight_and_bias(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Return the weight and, where there is one, the bias of a linear layer."""
    return linear.weight.detach(), None if linear.bias is None else linear.bias.detach()


def _lean(module: nn.Module) -> Function:
    """Return what a module computes of rows as a single call of torch; the module itself if none is known."""
    if isinstance(module, nn.Linear):
        return _product(*_weight_and_bias(module))
    if isinstance(module, nn.LayerNorm):
        shape, gain, bias, eps = module.normalized_shape, module.weight.detach(), module.bias.detach(), module.eps
        return lambda x: torch.layer_norm(x, shape, gain, bias, eps)
    if isinstance(module, nn.RMSNorm):
        sizes, scale, least = list(module.normalized_shape), module.weight.detach(), module.eps
        return lambda x: F.rms_norm(x, sizes, scale, least)
    if isinstance(module, nn.GELU):
        return partial(F.gelu, approximate=module.approximate)
    return torch.relu if isinstance(module, nn.ReLU) else module


def _product(weight: Tensor, bias: Tensor | None = None) -> Function:
    """Return the function x -> x @ weight^T + bias.

    For few rows a product with a matrix that lies this way takes half to three quarters of the time on a CPU.
    """
    columns = weight.t().contiguous()
    if bias is None:
        return lambda x: torch.mm(x, columns)
    return lambda x: torch.addmm(bias, x, columns)
