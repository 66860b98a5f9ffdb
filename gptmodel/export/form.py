"""What every form of an exported model has: how it is written, and how another program reads it back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from gptmodel.language_model import LanguageModel

Compared = Literal["logits", "log-probabilities"]


@dataclass(frozen=True)
class Form:
    """A model in the files of another program."""

    libraries: tuple[str, ...]
    """What writes and reads it, beside torch."""
    use: str
    """The line that loads it, with {folder} in it."""
    write: Callable[[LanguageModel, Path], str]
    """Write a model into an empty folder and return what it is called there; ExportError where it does not fit."""
    logits: Callable[[Path, Tensor], tuple[Tensor, int]]
    """Return what the other program has for each token behind idx (B, T), as (B, n, V), and the position of the first.

    `compared` says what that is.
    """
    token_ids: Callable[[Path, str], list[int]] | None = None
    """Return the ids of a text by the other program; None where the tokenizer in the folder is this project's own."""
    compared: Compared = "logits"
    """Log-probabilities where the other program tells no logits: they are blind to a number that is added to all."""
