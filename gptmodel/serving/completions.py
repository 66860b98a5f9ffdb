"""The work of a completion, a turn at a time: prompts continued and, if asked, scored, with log-probabilities.

Shapes: B texts of a prompt, V vocab.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from gptmodel.config import SampleParams
from gptmodel.sampling.generate import drawn
from gptmodel.sampling.stops import GrowingText
from gptmodel.scoring import score_tokens
from gptmodel.text_model import TextModel
from gptmodel.tokenizers.base import Tokenizer


class Token(NamedTuple):
    """A token of an answer, and how likely it was."""

    name: str
    logprob: float | None
    """Natural logarithm of its probability; None for the first token of a text."""
    likeliest: dict[str, float] | None
    """The same of the likeliest tokens at its place, and of itself."""
    offset: int
    """Characters of the answer's text before it."""


@dataclass(frozen=True)
class Piece:
    """The next part of a choice of an answer."""

    choice: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    drawn: int = 0
    """Tokens that this turn drew."""
    finish_reason: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What a completion is asked for, checked."""

    prompts: list[list[int]]
    params: SampleParams
    max_tokens: int
    """0 draws nothing; `params` cannot say that."""
    echo: bool
    logprobs: int | None


def token_names(tokenizer: Tokenizer) -> list[str]:
    """Return what each id is called in an answer, no two alike: its text, or "bytes:\\xNN" where its bytes are none."""
    return [_name(tokenizer.token_bytes(idx)) for idx in range(tokenizer.vocab_size)]


def _name(token: bytes) -> str:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def complete(model: TextModel, names: Sequence[str], wanted: Wanted) -> Generator[list[Piece], None, None]:
    """Yield what each turn makes: nothing, or the next parts of some choices.

    Prompts come one after the other, each with as many texts as `num_samples`, which grow together as they do in the
    sample stage with the same seed.
    """
    for number, ids in enumerate(wanted.prompts):
        count = wanted.params.num_samples
        choices = [_Choice(number * count + n, model.tokenizer, names, ids, wanted) for n in range(count)]
        if wanted.echo:
            tokens: list[Token] = []
            if wanted.logprobs is not None:
                for targets, log_probabilities in score_tokens(model.language_model, ids):
                    tokens += choices[0].entries(targets.tolist(), log_probabilities)
                    yield []
            yield [choice.echoed(tokens) for choice in choices]
        if wanted.max_tokens:
            yield from _continued(model, ids, choices, wanted)
        yield [choice.last() for choice in choices if not choice.finished]


def _continued(
    model: TextModel, ids: list[int], choices: Sequence["_Choice"], wanted: Wanted
) -> Generator[list[Piece], None, None]:
    for step in drawn(model.reader, ids, wanted.params):
        new_ids = step.ids.tolist()
        logs = torch.log_softmax(step.logits, -1) if wanted.logprobs is not None else None  # (B, V)
        growing = [(row, choice) for row, choice in enumerate(choices) if not choice.finished]
        yield [choice.push(new_ids[row], logs[row : row + 1] if logs is not None else None) for row, choice in growing]
        if all(choice.finished for choice in choices):
            return


class _Choice:
    """One text of an answer: its tokens in, its pieces out."""

    def __init__(self, number: int, tokenizer: Tokenizer, names: Sequence[str], ids: list[int], wanted: Wanted) -> None:
        self._number, self._names, self._ids, self._wanted = number, names, ids, wanted
        self._tokenizer = tokenizer
        self._text = GrowingText(tokenizer, ids, wanted.params.stop)
        self._told = 0  # tokens that went out
        self._tokens: list[Token] = []  # of the continuation, offsets counted from its beginning
        self._start = len(self._text.prompt) if wanted.echo else 0
        self.finished = False

    def echoed(self, scored: Sequence[Token]) -> Piece:
        """Return the prompt as a piece, with the entries of its tokens if they were scored."""
        tokens: list[Token] = []
        if self._wanted.logprobs is not None:
            stream, offset = self._tokenizer.stream(), 0
            first = Token(self._names[self._ids[0]], None, None, 0)
            for idx, token in zip(self._ids, [first, *scored], strict=True):
                tokens.append(token._replace(offset=offset))
                offset += len(stream.push(idx))
        return Piece(self._number, self._text.prompt, tokens)

    def push(self, idx: int, logs: Tensor | None) -> Piece:
        """Take a token with the log-probabilities (1, V) at its place, and return what can be told now."""
        text = self._text.push(idx)
        if logs is not None:
            (entry,) = self.entries([idx], logs)
            self._tokens.append(entry)
        self.finished = self._text.stopped
        return Piece(self._number, text, self._released(), 1, "stop" if self.finished else None)

    def last(self) -> Piece:
        """Return what is left, and why there is no more."""
        text = self._text.finish()
        self.finished = True
        reason = "stop" if self._text.stopped else "length"
        return Piece(self._number, text, self._released(), 0, reason)

    def _released(self) -> list[Token]:
        """Return the entries of tokens whose text has gone out since the last time, with their offsets."""
        if self._wanted.logprobs is None:
            return []
        shown = self._text.tokens_shown
        new = [
            token._replace(offset=self._start + begin)
            for token, begin in zip(
                self._tokens[self._told : shown], self._text.begins[self._told : shown], strict=True
            )
        ]
        self._told = shown
        return new

    def entries(self, ids: list[int], logs: Tensor) -> list[Token]:
        """Return the entries, without their offsets, of ids drawn or read at places with log-probabilities (N, V)."""
        count = min(self._wanted.logprobs or 0, logs.size(1))
        values, order = (part.tolist() for part in logs.topk(count, dim=-1))  # (N, count) each
        own = logs[torch.arange(len(ids)), ids].tolist()
        return [
            Token(
                self._names[idx],
                logprob,
                dict(zip(map(self._names.__getitem__, best), chances, strict=True)) | {self._names[idx]: logprob},
                0,
            )
            for idx, logprob, best, chances in zip(ids, own, order, values, strict=True)
        ]
