"""What the tests of the model and of all that uses it share: small settings, models and data, built the same way.

Nothing here reads params.yaml: that is the user's file, and the tests have to hold whatever stands in it.
"""

import copy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gptmodel.config import SECTIONS, TUTORIAL, ModelParams, Params, SampleParams, Switches, TrainParams
from gptmodel.kneser_ney import KneserNey
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel, build_model
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.char import CharTokenizer

ROOT = Path(__file__).resolve().parents[1]
VOCAB = 11
M = TypeVar("M", bound=nn.Module)
SMALL: dict[str, dict[str, Any]] = {  # beside the defaults
    "fetch": {"source": "own"},
    "model": {"block_size": 8, "n_embd": 8, "n_head": 2, "n_layer": 2},
    "train": {
        "batch_size": 3,
        "max_iters": 6,
        "eval_interval": 3,
        "eval_iters": 2,
        "learning_rate": 0.01,
        "beta2": 0.99,
        "seed": 7,
        "device": "cpu",
        "dtype": "float32",
    },
    "evaluate": {"threads": 1, "device": "cpu"},
    "sample": {
        "prompt": "a",
        "max_new_tokens": 12,
        "num_samples": 2,
        "temperature": 1.0,
        "seed": 7,
        "threads": 1,
        "device": "cpu",
    },
    "runtime": {"snapshot_seconds": 1000.0, "progress": "none", "mlflow": False, "experiment": "test"},
}


def small_values() -> dict[str, dict[str, Any]]:
    """The small settings as plain values, to change at will."""
    return {name: copy.deepcopy(section.defaults()) | SMALL.get(name, {}) for name, section in SECTIONS.items()}


def small_params(**sections: dict[str, Any]) -> Params:
    """The small settings with changes: `small_params(model={"norm": "pre"})`."""
    values = small_values()
    for name, changes in sections.items():
        values[name].update(changes)
    return Params.model_validate(
        {name: field.annotation.model_validate(values[name]) for name, field in Params.model_fields.items()}  # type: ignore[union-attr]
    )


def model_params(**changes: Any) -> ModelParams:
    return small_params(model=changes).model


def train_params(**changes: Any) -> TrainParams:
    return small_params(train=changes).train


def sample_params(**changes: Any) -> SampleParams:
    return small_params(sample=changes).sample


def with_switches(**changes: Any) -> Switches:
    """The tutorial's switches with changes."""
    return TUTORIAL.model_copy(update=changes)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model(seed: int = 0, vocab_size: int = VOCAB, *, fused: bool = True, **changes: Any) -> TransformerModel:
    """A small model as training starts with it."""
    return build_model(model_params(**changes), vocab_size, generator(seed), fused=fused)


def language_model(
    transformer: TransformerModel, counted: np.ndarray | None = None, tokenizer: Tokenizer | None = None
) -> LanguageModel:
    """A transformer with a tokenizer of as many characters and, if it has any, the counts of some ids."""
    params, vocab_size = transformer.params, transformer.vocab_size
    tokenizer = tokenizer or CharTokenizer(chr(97 + number) for number in range(vocab_size))
    if not params.kneser_ney:
        return LanguageModel(transformer, tokenizer)
    ids = torch.from_numpy(token_ids(300, vocab_size) if counted is None else counted)
    counts = KneserNey.count(params.kneser_ney, vocab_size, params.kneser_ney_share, ids)
    return LanguageModel(transformer, tokenizer, counts)


def scramble(module: M, seed: int = 0, std: float = 0.4) -> M:
    """Give every parameter random values, biases and gains too: with their first values, many a mistake is hidden."""
    random = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.1, std, generator=random)
    return module


def token_ids(count: int, vocab_size: int = VOCAB, seed: int = 0) -> np.ndarray:
    """Ids with something to learn in them: mostly the last id plus 1 or 2."""
    random = np.random.default_rng(seed)
    steps = np.where(random.random(count) < 0.8, random.integers(1, 3, count), random.integers(0, vocab_size, count))
    return (np.cumsum(steps) % vocab_size).astype(np.uint8)


def batch(B: int = 3, T: int = 8, vocab_size: int = VOCAB, seed: int = 0) -> Tensor:
    """Random idx (B, T)."""
    return torch.randint(vocab_size, (B, T), generator=generator(seed))


def copied(state: dict[str, Any]) -> dict[str, Tensor]:
    """A state dict whose tensors are their own."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def equal_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two state dicts have the same names in the same order, and the same bits."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
