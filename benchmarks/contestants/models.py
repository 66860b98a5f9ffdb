"""The models that are compared: ours, and what a user would otherwise take, each at the same sizes."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contestants.sizes import VOCAB, Sizes
from benchmarks.paths import ROOT

if TYPE_CHECKING:
    from gptmodel.config import Params
    from gptmodel.nn.transformer import TransformerModel

GRAD_CLIP = 1.0  # nanoGPT's


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
        self.dropout = sizes.dropout

    def attend(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (p.view(B, T, self.heads, -1).transpose(1, 2) for p in self.qkv(x).split(C, dim=2))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        return self.drop(self.proj(out.transpose(1, 2).contiguous().view(B, T, C)))

    def feed(self, x: Tensor) -> Tensor:
        return self.drop(self.down(self.activation(self.up(x))))

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

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
        self.tokens = nn.Embedding(sizes.vocab, sizes.n_embd)
        self.positions = nn.Embedding(sizes.block_size, sizes.n_embd)
        self.blocks = nn.Sequential(*(PlainBlock(sizes) for _ in range(sizes.n_layer)))
        self.norm = nn.LayerNorm(sizes.n_embd) if sizes.like_nanogpt else nn.Identity()
        self.head = nn.Linear(sizes.n_embd, sizes.vocab)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.tokens(idx) + self.positions(torch.arange(idx.size(1), device=idx.device))
        return self.head(self.norm(self.blocks(x)))  # type: ignore[no-any-return]


def huggingface_model(sizes: Sizes) -> Any:
    """Return GPT-2 of Hugging Face transformers, which is pre-norm with GELU at any sizes."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=sizes.block_size,
        n_embd=sizes.n_embd,
        n_layer=sizes.n_layer,
        n_head=sizes.n_head,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=None,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


def litgpt_model(sizes: Sizes) -> Any:
    """Return GPT of litgpt, which is pre-norm with GELU and rotary positions at any sizes."""
    from litgpt import GPT, Config

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
    return GPT(config)


def our_params(sizes: Sizes, **train: object) -> "Params":
    """Return the settings of the preset that is like the peers, at these sizes, with AdamW; `train` changes them."""
    from gptmodel.params_file import load_params

    model = {key: getattr(sizes, key) for key in ("n_layer", "n_head", "n_embd", "block_size")}
    model["position"] = "learned"
    clip = GRAD_CLIP if sizes.like_nanogpt else 0.0
    adamw = {"batch_size": sizes.batch_size, "optimizer": "adamw", "beta1": 0.9, "beta2": 0.999, "grad_clip": clip}
    settings = [f"model.{key}={value}" for key, value in model.items()]
    settings += [f"train.{key}={value}" for key, value in (adamw | train).items()]
    return load_params(ROOT / "presets" / f"{'nanogpt' if sizes.like_nanogpt else 'tutorial'}.yaml", settings)


def our_model(params: "Params") -> "TransformerModel":
    """Return our model with its first weights."""
    from gptmodel.compute.random import Stream, torch_generator
    from gptmodel.nn.transformer import build_model

    return build_model(params.model, VOCAB, torch_generator(1, Stream.WEIGHTS))
