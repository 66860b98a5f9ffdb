"""A text file as the tokenizer of a trained model reads it."""

from contextlib import closing
from pathlib import Path

import numpy as np

from gptmodel.data.text_file import survey
from gptmodel.data.tokens import TokenFile
from gptmodel.errors import DataError
from gptmodel.tokenizers.base import Tokenizer


def encoded(path: Path, tokenizer: Tokenizer) -> TokenFile:
    """Return the ids of a whole text; DataError for one that cannot be read, is too short or has unknown characters."""
    if not path.is_file():
        raise DataError(f"{path}: is no text file; name one that is there")
    if not path.stat().st_size:
        raise DataError(f"{path}: is empty; name a text of two tokens at least")
    text = survey(path, tokenizer.unit)
    try:
        with closing(text.chunks()) as chunks:
            ids = np.concatenate(list(tokenizer.encode_stream(chunks)))  # (n,)
    except DataError as error:
        reason = str(error).partition(";")[0].replace("the tokenizer", "the model")
        raise DataError(
            f"{path}: {reason}; leave it out, or train a model that knows it (one of bytes knows all: "
            "prepare.tokenizer: byte)"
        ) from None
    if len(ids) < 2:
        raise DataError(f"{path}: has {len(ids)} token, and the first is never scored; name a longer text")
    return TokenFile(path, ids, tokenizer.vocab_size, tokenizer.digest)
