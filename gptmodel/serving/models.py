"""The models that a server has, by the names its clients call them."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from gptmodel.compute.place import Place
from gptmodel.errors import ConfigError, DataError
from gptmodel.language_model import LanguageModel
from gptmodel.project.layout import IN_MLFLOW
from gptmodel.serving.completions import token_names
from gptmodel.serving.copied import TrainingText
from gptmodel.serving.protocol import ApiError
from gptmodel.text_model import TextModel, load
from gptmodel.tokenizers.base import Tokenizer


class Served:
    """A model under a name, with what answers about it need."""

    def __init__(self, name: str, model: TextModel, text: TrainingText) -> None:
        self.name, self.text_model = name, model
        self.names = token_names(model.tokenizer)
        self.training_text: TrainingText | None = None
        self.no_training_text = ""
        try:
            text.check(model.language_model)
            self.training_text = text
        except DataError as error:
            self.no_training_text = str(error)

    @property
    def language_model(self) -> LanguageModel:
        return self.text_model.language_model

    @property
    def tokenizer(self) -> Tokenizer:
        return self.text_model.tokenizer

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights and of the platform: equal ones give equal texts for equal requests."""
        sha = hashlib.sha256(repr((self.tokenizer.digest, self.text_model.params)).encode())
        for name, weight in self.text_model.network.state_dict().items():
            sha.update(name.encode() + weight.cpu().numpy().tobytes())
        if (counts := self.language_model.counts) is not None:
            sha.update(counts.grams.numpy().tobytes() + counts.counts.numpy().tobytes())
        sha.update(repr(Place.on(self.text_model.network.encoder.weight.device).fingerprint).encode())
        return f"fp_{sha.hexdigest()[:16]}"

    def card(self, created: int) -> dict[str, Any]:
        """Return the model as `GET /v1/models` lists it."""
        params = self.text_model.params
        return {
            "id": self.name,
            "object": "model",
            "created": created,
            "owned_by": "gptmodel",
            "parameters": self.text_model.parameters,
            "tokenizer": self.tokenizer.kind,
            "vocab_size": self.tokenizer.vocab_size,
            "block_size": params.block_size,
            "n_layer": params.n_layer,
            "n_head": params.n_head,
        }


class Shelf:
    """The models of a server, the first of which answers where none is named."""

    def __init__(self, paths: Sequence[str], prepared: Path) -> None:
        """Load models; a file is called by its name without .pth, or by its path where that is no name of its own.

        A run is called by its id. Raises ConfigError for a model named twice, and what `load` does.
        """
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise ConfigError(f"{twice}: is named twice; name each model once")
        short = [path.partition(":/")[2] if path.startswith(IN_MLFLOW) else PurePath(path).stem for path in paths]
        names = [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]
        text = TrainingText(prepared)
        self.models = [Served(name, load(path), text) for name, path in zip(names, paths, strict=True)]

    def model(self, name: str | None) -> Served:
        """Return the model of a name, or the first; ApiError if there is none."""
        if name is None:
            return self.models[0]
        for model in self.models:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in self.models)
        raise ApiError(404, f"there is no model {name[:100]!r} here; there is {names}", "model", "model_not_found")
