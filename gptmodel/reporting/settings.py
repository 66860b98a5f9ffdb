"""The settings that a trained model tells of, and those in which two differ."""

from collections.abc import Mapping
from typing import Any

from gptmodel.data.prepared import TRAIN
from gptmodel.language_model import LanguageModel

NO_SETTING = "-"
"""Stands where one of two models has no setting of a name."""


def settings_of(model: LanguageModel) -> dict[str, Any]:
    """Return the settings that a model file tells of, by their names in params.yaml."""
    train = model.provenance.get("train")
    sections = {"model": model.params.model_dump(mode="json"), "train": train if isinstance(train, Mapping) else {}}
    settings = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    return {"prepare.tokenizer": model.tokenizer.kind, **settings}


def training_of(model: LanguageModel) -> dict[str, Any]:
    """Return the settings with what else makes another training: how large the vocabulary is, and what was read.

    Of train.bin it is the beginning of the sha256.
    """
    data = model.provenance.get("data")
    train = str(data.get(TRAIN))[:16] if isinstance(data, Mapping) else None
    return {**settings_of(model), "vocab_size": model.tokenizer.vocab_size, TRAIN: train}


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of other values, with both."""
    names = sorted(first.keys() | second.keys())
    both = {name: (first.get(name, NO_SETTING), second.get(name, NO_SETTING)) for name in names}
    return {name: (old, new) for name, (old, new) in both.items() if old != new}
