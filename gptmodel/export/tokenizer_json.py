"""A tokenizer in the form that the library `tokenizers` reads: the same ids of the same text. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from gptmodel.errors import ExportError
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.bpe import BpeTokenizer
from gptmodel.tokenizers.char import CharTokenizer
from gptmodel.tokenizers.gpt2 import BYTE_OF

CHARACTERS = {byte: character for character, byte in BYTE_OF.items()}


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the content of tokenizer.json; ExportError for a kind that has no such form."""
    if tokenizer.kind not in FORMS:
        raise ExportError(
            f"prepare.tokenizer = {tokenizer.kind}: has no form that other programs read; export onnx or safetensors"
        )
    parts = {"version": "1.0", "added_tokens": [], **FORMS[tokenizer.kind](tokenizer)}
    unused = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
    return unused | parts


def token_characters(token: bytes) -> str:
    """Return a token's bytes as the characters that stand for them in GPT-2's vocabulary."""
    return token.decode("latin-1").translate(CHARACTERS)


def _of_characters(tokenizer: Tokenizer) -> dict[str, Any]:
    """Each character is a word; an unknown one becomes what `on_unknown: replace` makes of it."""
    assert isinstance(tokenizer, CharTokenizer)
    return {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": tokenizer.stoi, "unk_token": tokenizer.itos[tokenizer.unknown]},
    }


def _of_bytes(tokenizer: Tokenizer) -> dict[str, Any]:
    """Byte pairs that are never merged."""
    return _of_tokens([tokenizer.token_bytes(idx) for idx in range(tokenizer.vocab_size)], [], pieces=False)


def _of_byte_pairs(tokenizer: Tokenizer) -> dict[str, Any]:
    """Here two neighbours become one by the rank of their union, there by that of their pair: so all pairs of a token.

    A special token has none, since no text is encoded to it.
    """
    assert isinstance(tokenizer, BpeTokenizer)
    tokens = [tokenizer.token_bytes(idx) for idx in range(tokenizer.vocab_size)]
    ordinary = tokens[: len(tokens) - len(tokenizer.special)]
    ids = {token: idx for idx, token in enumerate(ordinary)}
    merges = []
    for token in ordinary:
        halves = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        merges += sorted((ids[left], ids[right]) for left, right in halves if left in ids and right in ids)
    return _of_tokens(tokens, merges, pieces=True)


def _of_tokens(tokens: Sequence[bytes], merges: Sequence[tuple[int, int]], *, pieces: bool) -> dict[str, Any]:
    """Return byte pair encoding; with `pieces` nothing is merged across GPT-2's pieces of a text."""
    words = [token_characters(token) for token in tokens]
    pairs = [[words[left], words[right]] for left, right in merges]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": pieces}
    vocab = {word: idx for idx, word in enumerate(words)}
    return {
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": pairs, "ignore_merges": False, "byte_fallback": False},
    }


FORMS: dict[str, Callable[[Tokenizer], dict[str, Any]]] = {
    "char": _of_characters,
    "byte": _of_bytes,
    "bpe": _of_byte_pairs,
    "gpt2": _of_byte_pairs,
}
