"""All kinds of tokenizers by name, and how one is saved to and loaded from a JSON file."""

from pathlib import Path

from gptmodel.errors import DataError
from gptmodel.files import read_json, write_json
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.bpe import BpeTokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer
from gptmodel.tokenizers.gpt2 import Gpt2Tokenizer

KINDS: dict[str, type[Tokenizer]] = {
    kind.kind: kind for kind in (CharTokenizer, ByteTokenizer, BpeTokenizer, Gpt2Tokenizer)
}
"""What prepare.tokenizer names; nothing else in the library tells kinds apart."""


def save_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Write a tokenizer to a JSON file, whole or not at all."""
    write_json(path, tokenizer.to_json())


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer from a JSON file; DataError when it is missing or anything in it is wrong."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro prepare` first") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{error}; run `gptmodel prepare` again") from None
    return tokenizer_from_json(value, str(path))


def tokenizer_from_json(value: object, where: str) -> Tokenizer:
    """Build a tokenizer from what `to_json` gave; DataError names `where` the value came from, whatever it is."""
    try:
        if not isinstance(value, dict):
            raise DataError("not a tokenizer: has to be a JSON object")
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise DataError(f"the tokenizer's kind has to be one of {', '.join(KINDS)}")
        return KINDS[kind].from_json(value)
    except DataError as error:
        raise DataError(f"{where}: {error}; run `gptmodel prepare` again") from None
