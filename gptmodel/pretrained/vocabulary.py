"""The tokenizer of a folder that transformers wrote: it has to be GPT-2's, token by token."""

from pathlib import Path
from typing import Any

from gptmodel.errors import CheckpointError, DataError
from gptmodel.export.tokenizer_json import token_characters
from gptmodel.files import read_json
from gptmodel.tokenizers.gpt2 import BYTE_OF, Gpt2Tokenizer

FILES = ("tokenizer.json", "vocab.json")
"""Either says which text each token is."""
LARGEST = 32 << 20


def gpt2_tokenizer(folder: Path) -> tuple[Gpt2Tokenizer, list[Path]]:
    """Return GPT-2's tokenizer and the files that name its tokens; CheckpointError where they name others, or none."""
    paths = [folder / name for name in FILES if (folder / name).exists()]
    if not paths:
        raise CheckpointError(
            f"{folder}: has neither {' nor '.join(FILES)}, so nothing says what its token ids mean; "
            "put GPT-2's own there"
        )
    tokenizers = [_read(path) for path in paths]
    return tokenizers[0], paths


def _read(path: Path) -> Gpt2Tokenizer:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        value = read_json(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise CheckpointError(f"{path}: is not JSON, or too large; get GPT-2's own") from None
    vocab = _vocab(value) if path.name == "tokenizer.json" else value
    try:
        tokenizer = Gpt2Tokenizer.from_json({"kind": Gpt2Tokenizer.kind, "tokens": _tokens(vocab)})
        if vocab != {token_characters(tokenizer.token_bytes(idx)): idx for idx in range(tokenizer.vocab_size)}:
            raise DataError("its single bytes have other ids")
    except (DataError, LookupError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path}: its tokens are not those of GPT-2, which alone can be imported; put GPT-2's own there if the "
            "model was trained with them"
        ) from None
    return tokenizer


def _vocab(value: Any) -> Any:
    """Return the ids of all tokens in the JSON of the library `tokenizers`."""
    model = value.get("model") if isinstance(value, dict) else None
    return model.get("vocab") if isinstance(model, dict) else None


def _tokens(vocab: Any) -> list[str]:
    """Return the tokens of several bytes in the order of their ids, a Latin-1 character for each byte."""
    byte_of = {ord(character): byte for character, byte in BYTE_OF.items()}
    ordered = sorted(vocab, key=vocab.__getitem__)[256:-1]  # before them the bytes, behind them <|endoftext|>
    return [word.translate(byte_of) for word in ordered]
