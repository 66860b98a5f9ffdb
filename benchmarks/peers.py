"""The training loops that are compared: ours, and what a user would otherwise run, each at the same sizes.

A contestant is made in a process of its own, since some change how the process allocates and computes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
VOCAB = 65
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a model and a batch."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    like_nanogpt: bool = False  # pre-norm and GELU; otherwise the tutorial's post-norm and ReLU


SIZES = {
    "tutorial": Sizes(n_layer=4, n_head=4, n_embd=64, block_size=32, batch_size=16),
    "nanogpt": Sizes(n_layer=4, n_head=4, n_embd=128, block_size=64, batch_size=12, like_nanogpt=True),
}
Train = Callable[[int], None]  # so many iterations


def tokens(count: int = 1_000_000) -> np.ndarray:
    """Token ids to train on, (count,) uint16: their values do not matter to the time."""
    return np.random.default_rng(0).integers(VOCAB, size=count).astype(np.uint16)


def sampled(data: np.ndarray, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Return a batch as nanoGPT's loop takes it: random starts, a slice for each row."""
    starts = torch.randint(len(data) - sizes.block_size, (sizes.batch_size,)).tolist()
    rows = [data[start : start + sizes.block_size + 1].astype(np.int64) for start in starts]
    whole = torch.stack([torch.from_numpy(row) for row in rows])
    return whole[:, :-1], whole[:, 1:]


class PlainBlock(nn.Module):
    """A block as plain PyTorch code has it: one product for q, k and v, torch's attention kernel."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        C = sizes.n_embd
        self.heads, self.pre = sizes.n_head, sizes.like_nanogpt
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.activation = nn.GELU() if self.pre else nn.ReLU()
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)

    def attend(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (p.view(B, T, self.heads, -1).transpose(1, 2) for p in self.qkv(x).split(C, dim=2))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(out.transpose(1, 2).contiguous().view(B, T, C))  # type: ignore[no-any-return]

    def feed(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            x = x + self.attend(self.ln1(x))
            return x + self.feed(self.ln2(x))
        x = self.ln1(x + self.attend(x))
        return self.ln2(x + self.feed(x))  # type: ignore[no-any-return]


class PlainGPT(nn.Module):
    """The model of a plain eager loop."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, sizes.n_embd)
        self.positions = nn.Embedding(sizes.block_size, sizes.n_embd)
        self.blocks = nn.Sequential(*(PlainBlock(sizes) for _ in range(sizes.n_layer)))
        self.norm = nn.LayerNorm(sizes.n_embd) if sizes.like_nanogpt else nn.Identity()
        self.head = nn.Linear(sizes.n_embd, VOCAB)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.tokens(idx) + self.positions(torch.arange(idx.size(1)))
        return self.head(self.norm(self.blocks(x)))  # type: ignore[no-any-return]


def eager_loop(model: nn.Module, sizes: Sizes, logits: Callable[[Any], Tensor] = lambda out: out) -> Train:
    """Return the usual loop around a model: AdamW as PyTorch has it by default, cross-entropy, backward, step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    data = tokens()

    def train(iterations: int) -> None:
        for _ in range(iterations):
            idx, targets = sampled(data, sizes)
            loss = F.cross_entropy(logits(model(idx)).reshape(-1, VOCAB), targets.reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return train


def plain(sizes: Sizes, threads: int) -> Train:
    """A plain eager loop of the same model."""
    torch.set_num_threads(threads)
    return eager_loop(PlainGPT(sizes), sizes)


def huggingface(sizes: Sizes, threads: int) -> Train:
    """GPT-2 of Hugging Face transformers, which is pre-norm with GELU at any sizes."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(threads)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=sizes.block_size,
        n_embd=sizes.n_embd,
        n_layer=sizes.n_layer,
        n_head=sizes.n_head,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    return eager_loop(GPT2LMHeadModel(config), sizes, lambda out: out.logits)


def litgpt(sizes: Sizes, threads: int) -> Train:
    """GPT of litgpt, which is pre-norm with GELU and rotary positions at any sizes."""
    from litgpt import GPT, Config

    torch.set_num_threads(threads)
    config = Config(
        block_size=sizes.block_size,
        vocab_size=VOCAB,
        padded_vocab_size=VOCAB,
        n_layer=sizes.n_layer,
        n_head=sizes.n_head,
        n_embd=sizes.n_embd,
        rotary_percentage=1.0,
        parallel_residual=False,
    )
    return eager_loop(GPT(config), sizes)


def ours(sizes: Sizes, threads: int) -> Train:
    """The loop of gptmodel: its batches, its step, its optimizer."""
    from gptmodel.config import ModelParams, TrainParams
    from gptmodel.data.batches import training_batch
    from gptmodel.determinism import Stream, torch_generator, use_threads
    from gptmodel.nn.transformer import build_model
    from gptmodel.optim.factory import build_optimizer, learning_rate_at
    from gptmodel.params_file import read_params
    from gptmodel.training.step import Update, training_step

    use_threads(threads)
    values = read_params(ROOT / "params.yaml")
    shape = {key: getattr(sizes, key) for key in ("n_layer", "n_head", "n_embd", "block_size")}
    switches = {"norm": "pre", "activation": "gelu"} if sizes.like_nanogpt else {}
    switches = {"position": "learned", **switches}
    model_params = ModelParams.model_validate({**values["model"], **shape, **switches})
    params = TrainParams.model_validate({**values["train"], "batch_size": sizes.batch_size})
    model = build_model(model_params, VOCAB, torch_generator(1, Stream.WEIGHTS))
    optimizer = build_optimizer(model, params)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    data, done = tokens(), 0

    def train(iterations: int) -> None:
        nonlocal done
        first, done = done, done + iterations
        for iteration in range(first, done):
            batch = training_batch(data, params.seed, iteration, params.batch_size, sizes.block_size)
            update = Update(iteration=iteration, learning_rate=learning_rate_at(iteration, params), grad_clip=0.0)
            training_step(model, optimizer, scaler, batch, update)

    return train


CONTESTANTS: dict[str, Callable[[Sizes, int], Train]] = {
    "gptmodel": ours,
    "plain loop": plain,
    "HF GPT-2": huggingface,
    "litgpt": litgpt,
}
