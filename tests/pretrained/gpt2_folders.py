"""Folders with a small random GPT-2, written by hand, and what such a model computes, written as plain formulas."""

import json
import math
import struct
from functools import cache
from pathlib import Path
from typing import Any

import torch
from model_helpers import generator
from tokenizer_helpers import need_gpt2
from torch import Tensor

from gptmodel.tokenizers.gpt2 import Gpt2Tokenizer, learnt_tokens

V, T, C, LAYERS, HEADS = 50_257, 16, 8, 2, 2
CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "activation_function": "gelu_new",
    "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-05,
    "n_ctx": T,
    "n_embd": C,
    "n_head": HEADS,
    "n_layer": LAYERS,
    "n_positions": T,
    "vocab_size": V,
}
"""As OpenAI's own has it: silent on what later versions of transformers added."""
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.uint8: "U8"}


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """Weights by GPT-2's names, all of them random."""
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (V, C), "wpe.weight": (T, C)}
    for layer in range(LAYERS):
        parts = {"ln_1": (C,), "ln_2": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C)}
        for part, shape in {**parts, "mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C)}.items():
            shapes |= {f"h.{layer}.{part}.weight": shape, f"h.{layer}.{part}.bias": shape[-1:]}
    shapes |= {"ln_f.weight": (C,), "ln_f.bias": (C,)}
    random = generator(seed)
    return {name: torch.randn(shape, generator=random) * 0.5 + 0.1 for name, shape in shapes.items()}


def safetensors_bytes(weights: dict[str, Tensor], **changes: Any) -> bytes:
    """The content of a safetensors file; `changes` are made to the entries of its header."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content, start = [], 0
    for name, tensor in weights.items():
        raw = tensor.flatten().view(torch.uint8).numpy().tobytes()
        stop = start + len(raw)
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, stop]}
        content.append(raw)
        start = stop
    header = json.dumps(entries | changes).encode()
    return b"".join([struct.pack("<Q", len(header)), header, *content])


@cache
def vocab_json() -> bytes:
    """GPT-2's vocab.json: a character for each byte, as OpenAI's encoder.py has it; the test is skipped without it."""
    need_gpt2()
    tokenizer = Gpt2Tokenizer(learnt_tokens())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    character = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    words = ["".join(character[byte] for byte in tokenizer.token_bytes(idx)) for idx in range(V)]
    return json.dumps({word: idx for idx, word in enumerate(words)}).encode()


def write_folder(folder: Path, weights: dict[str, Tensor], **config: Any) -> Path:
    """A folder as transformers writes it; a key whose value is None is left out of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {key: value for key, value in (CONFIG | config).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(safetensors_bytes(weights))
    (folder / "vocab.json").write_bytes(vocab_json())
    return folder


def logits_by_hand(weights: dict[str, Tensor], idx: Tensor, activation: str = "gelu_new") -> Tensor:
    """What GPT-2 computes of idx (B, T), in float64, a head at a time (Radford et al. 2019)."""
    w = {name: tensor.double() for name, tensor in weights.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def conv1d(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x: Tensor) -> Tensor:
        if activation == "gelu":
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    length, hs = idx.size(1), C // HEADS
    x = w["wte.weight"][idx] + w["wpe.weight"][:length]  # (B, T, C)
    for layer in range(LAYERS):
        q, k, v = conv1d(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn").split(C, dim=-1)  # (B, T, C) each
        heads = []
        for head in range(HEADS):
            part = slice(head * hs, (head + 1) * hs)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(hs)  # (B, T, T)
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            heads.append(scores.masked_fill(future, -math.inf).softmax(-1) @ v[..., part])
        x = x + conv1d(torch.cat(heads, dim=-1), f"h.{layer}.attn.c_proj")
        up = conv1d(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        x = x + conv1d(gelu(up), f"h.{layer}.mlp.c_proj")
    return norm(x, "ln_f") @ w.get("lm_head.weight", w["wte.weight"]).t()  # (B, T, V)
