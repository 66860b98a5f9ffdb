"""A character-level GPT in one file, as a lecture writes it: plain PyTorch, nothing compiled, cached or tracked.

A program: `python -m benchmarks.contestants.lecture TEXT` reads a text, trains on it, estimates the losses of both
splits meanwhile, saves model.pth and samples. Its hyperparameters are those of params.yaml (a test compares), and so is
its model. The last line that it prints is JSON.

Shapes: B batch, T time, C n_embd, hs head size, V vocab.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

batch_size = 16
block_size = 32
max_iters = 5000
eval_interval = 100
learning_rate = 1e-3
eval_iters = 200
n_embd = 64
n_head = 4
n_layer = 4
dropout = 0.0
num_samples = 3
max_new_tokens = 500
temperature = 0.8
device = "cuda" if torch.cuda.is_available() else "cpu"


class Head(nn.Module):
    """One head of causal self-attention."""

    tril: Tensor

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        T = x.size(1)
        k, q, v = self.key(x), self.query(x), self.value(x)  # (B, T, hs) each
        weights = q @ k.transpose(-2, -1) * k.size(-1) ** -0.5  # (B, T, T)
        weights = weights.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        weights = self.dropout(F.softmax(weights, dim=-1))
        return weights @ v  # type: ignore[no-any-return]  # (B, T, hs)


class MultiHeadAttention(nn.Module):
    """Several heads side by side."""

    def __init__(self, num_heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([Head(head_size) for _ in range(num_heads)])
        self.proj = nn.Linear(num_heads * head_size, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.cat([head(x) for head in self.heads], dim=-1)  # (B, T, C)
        return self.dropout(self.proj(out))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two linear layers with ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward, each followed by layer normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.sa = MultiHeadAttention(n_head, n_embd // n_head)
        self.ffwd = FeedForward()
        self.ln1, self.ln2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln1(x + self.sa(x))
        return self.ln2(x + self.ffwd(x))  # type: ignore[no-any-return]


class TransformerModel(nn.Module):
    """The whole model."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocab_size, n_embd)
        self.position = nn.Embedding(block_size, n_embd)
        self.blocks = nn.Sequential(*[Block() for _ in range(n_layer)])
        self.decoder = nn.Linear(n_embd, vocab_size)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.encoder(idx) * n_embd**0.5 + self.position(torch.arange(idx.size(1), device=device))  # (B, T, C)
        return self.decoder(self.blocks(x))  # type: ignore[no-any-return]  # (B, T, V)

    @torch.no_grad()
    def generate(self, idx: Tensor, new_tokens: int) -> Tensor:
        """Continue idx (B, T), with a whole forward pass for each token."""
        for _ in range(new_tokens):
            logits = self(idx[:, -block_size:])[:, -1] / temperature  # (B, V)
            following = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)  # (B, 1)
            idx = torch.cat((idx, following), dim=1)  # (B, T + 1)
        return idx


def get_batch(data: Tensor) -> tuple[Tensor, Tensor]:
    """Return random blocks and what follows each of their tokens, (B, T) each."""
    starts = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([data[i : i + block_size] for i in starts])
    y = torch.stack([data[i + 1 : i + block_size + 1] for i in starts])
    return x.to(device), y.to(device)


def loss_of(model: TransformerModel, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean nats of targets y (B, T)."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def estimate_loss(model: TransformerModel, splits: dict[str, Tensor], batches: int) -> dict[str, float]:
    """Return the mean loss of some random batches of each split."""
    model.eval()
    losses = {
        name: float(torch.tensor([loss_of(model, *get_batch(data)).item() for _ in range(batches)]).mean())
        for name, data in splits.items()
    }
    model.train()
    return losses


def train(model: TransformerModel, splits: dict[str, Tensor], iterations: int, batches: int) -> dict[str, float]:
    """Train, print the losses now and then, and return the last ones."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = {}
    for iteration in range(iterations):
        if iteration % eval_interval == 0:
            losses = estimate_loss(model, splits, batches)
            print(f"step {iteration}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}", flush=True)
        loss = loss_of(model, *get_batch(splits["train"]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return estimate_loss(model, splits, batches)


def main() -> None:
    """Run from the text to the samples."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path)
    parser.add_argument("--max-iters", type=int, default=max_iters)
    parser.add_argument("--eval-iters", type=int, default=eval_iters)
    parser.add_argument("--max-new-tokens", type=int, default=max_new_tokens)
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")
    stoi = {character: number for number, character in enumerate(sorted(set(text)))}
    itos = list(stoi)
    data = torch.tensor([stoi[character] for character in text])
    first = int(0.9 * len(data))
    splits = {"train": data[:first], "val": data[first:]}
    torch.manual_seed(1337)
    model = TransformerModel(len(itos)).to(device)
    started = time.perf_counter()
    losses = train(model, splits, arguments.max_iters, arguments.eval_iters)
    seconds = time.perf_counter() - started
    torch.save(model.state_dict(), "model.pth")
    beginning = torch.full((num_samples, 1), stoi.get("\n", 0), device=device)
    for row in model.generate(beginning, arguments.max_new_tokens).tolist():
        print("".join(itos[number] for number in row))
    print(json.dumps({"training_seconds": seconds, "val_loss": losses["val"]}))


if __name__ == "__main__":
    main()
