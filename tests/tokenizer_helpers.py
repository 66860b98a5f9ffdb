"""What the tests of all kinds of tokenizers share."""

from typing import Any

import pytest
from model_helpers import small_params

from gptmodel.errors import DataError
from gptmodel.prepare_params import PrepareParams
from gptmodel.tokenizers.gpt2 import learnt_tokens

BPE_SIZE = 300


def vocab_size(kind: str) -> int | None:
    """What prepare.vocab_size has to be for a kind in tests; the test is skipped where the kind cannot be had."""
    if kind == "gpt2":
        need_gpt2()
    return BPE_SIZE if kind == "bpe" else None


def prepare_settings(kind: str) -> dict[str, Any]:
    """The settings of prepare for a kind."""
    return {"tokenizer": kind, "vocab_size": vocab_size(kind)}


def prepare_params(kind: str = "char", train_fraction: float = 0.9, **more: Any) -> PrepareParams:
    """The section `prepare` for a kind."""
    return small_params(prepare={**prepare_settings(kind), "train_fraction": train_fraction, **more}).prepare


def need_gpt2() -> None:
    """Skip the test where GPT-2's vocabulary is not in the cache and cannot be downloaded."""
    try:
        learnt_tokens()
    except DataError as error:
        pytest.skip(str(error))
