"""How likely a model finds the tokens of a text of any length: their log-probabilities, and the loss for a reader.

Shapes: B batch, T time, N tokens, V vocab.
"""

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gptmodel.errors import DataError
from gptmodel.language_model import LanguageModel

TOKENS_AT_ONCE, LOGITS_AT_ONCE = 1024, 1 << 20
"""Tokens in a forward pass: few, for a server does something else in between, and fewer for a vocabulary of more than
1024. A function of the vocabulary alone, as the last bits depend on it."""


class Scored(NamedTuple):
    """Some consecutive tokens, and what the model expected at their places."""

    targets: Tensor  # (N,)
    log_probabilities: Tensor  # (N, V), natural logarithms


@torch.inference_mode()
def score_tokens(model: LanguageModel, ids: Sequence[int]) -> Iterator[Scored]:
    """Score token ids in their order, each once; the first, which has nothing before it, is left out.

    Contexts of block_size tokens overlap by half. So each token is predicted from at least half a block of those before
    it, or from all there are, at about twice the cost of contexts that do not overlap. `evaluate` scores a split
    without overlap: its loss is a little higher.
    """
    model.transformer.eval()
    idx = torch.tensor(ids, device=model.transformer.encoder.weight.device)
    block_size, count = model.params.block_size, len(ids) - 1
    step = max(1, block_size // 2)
    if count < 1:
        return
    first = min(block_size, count)
    logits = model.predict(idx[None, :first])[0]  # (T, V)
    yield Scored(idx[1 : first + 1], torch.log_softmax(logits, -1))
    ends = list(range(block_size + step, count + 1, step))  # of contexts that add `step` tokens each
    at_once = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // model.tokenizer.vocab_size) // block_size)
    for begin in range(0, len(ends), at_once):
        rows = ends[begin : begin + at_once]
        contexts = torch.stack([idx[end - block_size : end] for end in rows])  # (B, T)
        logits = model.predict(contexts)[:, -step:].flatten(0, 1)  # (N, V)
        targets = torch.cat([idx[end - step + 1 : end + 1] for end in rows])  # (N,)
        yield Scored(targets, torch.log_softmax(logits, -1))
    rest = (count - first) % step
    if rest:
        logits = model.predict(idx[None, count - block_size : count])[0, -rest:]  # (N, V)
        yield Scored(idx[-rest:], torch.log_softmax(logits, -1))


@dataclass(frozen=True)
class Score:
    """The loss of a text; in a notebook, the text in colours of surprise."""

    nats: tuple[float, ...]
    """Surprise of each token but the first: minus the natural logarithm of its probability."""
    pieces: tuple[tuple[str, int], ...]
    """The text in characters or longer parts, each with the number of its tokens, the first token included."""
    scored_bytes: int
    """Bytes of the text, but for those of its first token."""

    @property
    def tokens(self) -> int:
        """How many tokens were scored: all but the first."""
        return len(self.nats)

    @property
    def loss(self) -> float:
        """Nats per token."""
        return math.fsum(self.nats) / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text, which compares models of different tokenizers."""
        return math.fsum(self.nats) / math.log(2) / self.scored_bytes

    def __repr__(self) -> str:
        return f"Score(loss={self.loss:.4f}, bits_per_byte={self.bits_per_byte:.4f}, tokens={self.tokens})"

    def _repr_html_(self) -> str:
        """Return the text, each part on orange that is the deeper the less it was expected."""
        start, parts = -1, []
        for text, tokens in self.pieces:
            surprise = math.fsum(self.nats[max(start, 0) : start + tokens])
            start += tokens
            depth = min(surprise / 8, 1.0)  # nats
            style = f"background:rgba(255,140,0,{depth:.2f})"
            parts.append(f'<span style="{style}" title="{surprise:.2f} nats">{html.escape(text)}</span>')
        text = "".join(parts).replace("\r", "&#13;")  # a browser makes two lines of a \r\n in two parts
        body = f'<div style="white-space:pre-wrap;font-family:monospace">{text}</div>'
        return f"{body}<div>loss {self.loss:.4f} nats per token, {self.bits_per_byte:.4f} bits per byte</div>"


def score_text(model: LanguageModel, text: str) -> Score:
    """Score a text; DataError for a character that the model does not know, and for fewer than two tokens."""
    tokenizer = model.tokenizer
    ids = tokenizer.encode(text)
    if len(ids) < 2:
        raise DataError("the text is too short to score: give at least two tokens, as the first has nothing before it")
    nats: list[float] = []
    for targets, log_probabilities in score_tokens(model, ids):
        nats += (-log_probabilities.gather(1, targets[:, None])[:, 0]).tolist()
    lengths = tokenizer.byte_lengths()
    return Score(tuple(nats), tuple(_pieces(model, ids)), int(lengths[ids[1:]].sum()))


def _pieces(model: LanguageModel, ids: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Yield the text of ids in complete characters, with the number of tokens of each piece."""
    stream, tokens = model.tokenizer.stream(), 0
    for idx in ids:
        piece, tokens = stream.push(idx), tokens + 1
        if piece:
            yield piece, tokens
            tokens = 0
    if tokens:
        yield stream.finish(), tokens
