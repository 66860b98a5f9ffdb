"""A trained model as Python uses it: text in, text out. `gptmodel.load` makes one."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from gptmodel.checkpoint.model_file import load_model
from gptmodel.compute.forked import compute_after_forks
from gptmodel.compute.place import pick_device
from gptmodel.config import Device, ModelParams, PastBlock, SampleParams
from gptmodel.errors import ConfigError
from gptmodel.language_model import LanguageModel
from gptmodel.nn.transformer import TransformerModel
from gptmodel.project.layout import IN_MLFLOW, project_root
from gptmodel.sampling.generate import sample_pieces
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.scoring import Score, score_text
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.wrong_settings import faults_of, shown


def load(path: str | os.PathLike[str], device: str = "auto") -> "TextModel":
    """Load a trained model: a file such as models/model.pth, or one of this project's MLflow store.

    That is "runs:/ID", or "models:/NAME@ALIAS" for a registered one. `device` is auto, cpu, cuda or mps. Raises
    CheckpointError for a file that is no model, and GptModelError for what MLflow does not have, each with one line
    that says what to do.
    """
    if device not in get_args(Device):
        raise ConfigError(f"device = {device}: has to be auto, cpu, cuda or mps")
    compute_after_forks()  # programs make pools of processes
    name, chosen = os.fspath(path), pick_device(device, "device")
    if not name.startswith(IN_MLFLOW):
        return TextModel(load_model(Path(name), chosen), name)
    from gptmodel.tracking.lookup import download_model

    with tempfile.TemporaryDirectory() as folder:
        file = download_model(project_root(), name, Path(folder))
        return TextModel(load_model(file, chosen), name)


class TextModel:
    """Continues and scores texts; nothing it does changes a weight, and equal calls give equal results."""

    def __init__(self, model: LanguageModel, name: str) -> None:
        self.language_model, self.name = model, name
        self._reader: IncrementalModel | None = None

    def generate(  # noqa: PLR0913  # what a user can say about a text
        self,
        prompt: str | None = None,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: str | Sequence[str] | None = None,
        past_block: PastBlock = "shift",
        seed: int = 1337,
        num_samples: int = 1,
    ) -> str | list[str]:
        """Continue a prompt, and return it with what follows; a list of texts for several samples.

        The settings are those of the section `sample` in a params file, and give the text of the sample stage. Without
        a prompt a text begins with a line end, or with the first character that the model knows. Raises ConfigError
        for a wrong setting and DataError for a character that the model does not know.
        """
        params = _params(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
            past_block=past_block,
            seed=seed,
            num_samples=num_samples,
        )
        texts = ["".join(pieces) for pieces in zip(*sample_pieces(self.reader, params.prompt, params), strict=True)]
        return texts[0] if num_samples == 1 else texts

    def stream(  # noqa: PLR0913  # what a user can say about a text
        self,
        prompt: str | None = None,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: str | Sequence[str] | None = None,
        past_block: PastBlock = "shift",
        seed: int = 1337,
    ) -> Iterator[str]:
        """Yield the text of `generate` piece by piece, the prompt first, as the model draws it.

        Wrong settings and unknown characters are errors at once, before the first piece is asked for.
        """
        params = _params(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
            past_block=past_block,
            seed=seed,
            num_samples=1,
        )
        if prompt is not None:
            self.tokenizer.encode(prompt)
        return (pieces[0] for pieces in sample_pieces(self.reader, params.prompt, params) if pieces[0])

    def score(self, text: str) -> Score:
        """Return how surprising a text is: `.loss` (nats per token), `.bits_per_byte`, `.tokens`, `.nats` of each.

        In a notebook it shows the text in colours. Raises DataError for a character that the model does not know, and
        for fewer than two tokens.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text has to be a str, not {type(text).__name__}")
        return score_text(self.language_model, text)

    @property
    def tokenizer(self) -> Tokenizer:
        """Text <-> token ids."""
        return self.language_model.tokenizer

    @property
    def params(self) -> ModelParams:
        """The sizes and switches of the model."""
        return self.language_model.params

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Digests of the data it was trained on, the platform, and the settings of the training."""
        return self.language_model.provenance

    @property
    def network(self) -> TransformerModel:
        """The transformer, an nn.Module; counts (model.kneser_ney) are beside it."""
        return self.language_model.transformer

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def reader(self) -> IncrementalModel:
        """What draws from it: made when it is first needed, and again where the weights of `network` were changed."""
        if self._reader is None or not self._reader.is_current:
            self._reader = IncrementalModel(self.language_model)
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}  # copies of matrices, which whoever unpickles it makes anew

    def __repr__(self) -> str:
        params, tokenizer = self.params, self.tokenizer
        sizes = f"{params.n_layer} layers of {params.n_embd}, block_size {params.block_size}"
        return f"TextModel({self.name!r}: {self.parameters:,} parameters, {sizes}, {tokenizer.vocab_size} tokens)"


def _params(*, stop: str | Sequence[str] | None, **settings: Any) -> SampleParams:
    if not isinstance(stop, str | Sequence | None):
        raise ConfigError(f"stop = {shown(stop)}: has to be a text, or a list of texts")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    try:
        return SampleParams.model_validate(SampleParams.defaults() | settings | {"stop": stops})
    except ValidationError as error:
        raise ConfigError("; ".join(faults_of("", SampleParams, error))) from None
