"""The model that a training starts from where `train.init_from` names one: its weights, and nothing else of it.

The optimizer starts anew, and n-grams are counted in the text at hand. So settings may differ that decide no weight.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from gptmodel.checkpoint.model_file import load_model
from gptmodel.config import ModelParams, Params
from gptmodel.data.local_files import model_path
from gptmodel.errors import CheckpointError, ConfigError
from gptmodel.files import digest
from gptmodel.tokenizers.base import Tokenizer

FREE = {"dropout", "attention_dropout", "ngram_dropout", "zero_init", "kneser_ney", "kneser_ney_share"}
"""Settings of `model` that no trained weight depends on."""
OTHERS = {
    "char": "it has a token for each character of the text it was made for; start from a model with byte or gpt2",
    "bpe": "it was learnt from another text; start from a model with byte or gpt2, which are the same for every text",
}
"""Why two tokenizers of a kind are not the same, and what to do."""


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """Weights to start from, and the digest of the file they are from."""

    sha256: str
    weights: dict[str, Tensor]

    def put_into(self, transformer: nn.Module) -> None:
        """Give a transformer the weights, and keep none: they would stay as long as the training, beside its own."""
        transformer.load_state_dict(self.weights)
        self.weights.clear()


def initial_model(params: Params, tokenizer: Tokenizer | None, root: Path) -> InitialModel | None:
    """Read the model of `train.init_from`, a path from the project's folder `root` on; None where it is null.

    `tokenizer` is None where nobody knows it before the text is there.

    Raises ConfigError for a file that is not there or no model, and for a model of another tokenizer, other sizes or
    switches.
    """
    if params.train.init_from is None:
        return None
    path, setting = model_path(params.train.init_from, root), f"train.init_from = {params.train.init_from}"
    try:
        model = load_model(path)
    except CheckpointError as error:
        reason = str(error).removeprefix(f"{path}: ").partition("; train ")[0]  # it may be anything but a model of ours
        raise ConfigError(f"{setting}: {reason}; let train.init_from name another file") from None
    if tokenizer is not None and model.tokenizer.digest != tokenizer.digest:
        raise ConfigError(f"{setting}: {_other_tokenizer(model.tokenizer, tokenizer)}")
    if differences := _differences(model.params, params.model):
        mend = "set these as the file has them, or let train.init_from name another file"
        raise ConfigError(f"{setting}: has {'; '.join(differences)}: {mend}")
    return InitialModel(sha256=digest(path), weights=dict(model.transformer.state_dict()))


def _other_tokenizer(theirs: Tokenizer, ours: Tokenizer) -> str:
    if theirs.kind != ours.kind:
        mend = f"set prepare.tokenizer to {theirs.kind}, or let train.init_from name another file"
        return f"its tokenizer is {theirs.kind}, and that of data/prepared is {ours.kind}: {mend}"
    sizes = f"{theirs.vocab_size} and {ours.vocab_size} tokens"
    why = OTHERS.get(ours.kind, "let train.init_from name another file")
    return f"its tokenizer and that of data/prepared are both {ours.kind}, but not the same ({sizes}): {why}"


def _differences(theirs: ModelParams, ours: ModelParams) -> list[str]:
    """Return each setting that decides the weights and is not the same."""
    values, other = theirs.model_dump(mode="json"), ours.model_dump(mode="json")
    names = [name for name in values if name not in FREE and values[name] != other[name]]
    return [f"model.{name} = {values[name]}, here {other[name]}" for name in names]
