"""What of a trained model a stock class of transformers holds: class, config and weights, or why none does. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gptmodel.config import ModelParams
from gptmodel.errors import ExportError
from gptmodel.export.classes import CLASSES
from gptmodel.export.weights import ModelWeights, Weights, without_decoder_bias


@dataclass(frozen=True)
class StockModel:
    """A model in the words of a stock class."""

    class_name: str
    config: dict[str, Any]
    weights: Weights


def stock_model(params: ModelParams, vocab_size: int, state: Mapping[str, Tensor]) -> StockModel:
    """Map a model to the stock class that computes the same; ExportError names each setting that no class has."""
    check_settings(params, "no stock class of transformers has it")
    kind = (params.norm, params.norm_type, params.position)
    if kind not in CLASSES:
        norm, norm_type, position = kind
        raise ExportError(
            f"model.norm = {norm} with model.norm_type = {norm_type} and model.position = {position}: no stock class "
            "of transformers is built so (docs/EXPORT.md lists what there is); export onnx or safetensors"
        )
    chosen = CLASSES[kind]
    model = ModelWeights(params, without_decoder_bias(params, state))
    tied = params.tie_embeddings and not params.scale_embedding  # the scale goes into the embedding alone
    weights = chosen.weights(params, model) | ({} if tied else {chosen.decoder: model.decoder})
    config = {
        "architectures": [chosen.name],
        "vocab_size": vocab_size,
        "dtype": "float32",
        "tie_word_embeddings": tied,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),  # ours has none: any id is a token
        **chosen.config(params),
    }
    return StockModel(chosen.name, config, {name: tensor.contiguous() for name, tensor in weights.items()})


def check_settings(params: ModelParams, reason: str) -> None:
    """Raise ExportError that names the settings which only this project has, if any is on."""
    settings = {
        "model.ngram_orders": list(params.ngram_orders),
        "model.kneser_ney": params.kneser_ney,
        "model.qk_norm": params.qk_norm,
        "model.logit_softcap": params.logit_softcap,
    }
    if own := [f"{name} = {str(value).lower()}" for name, value in settings.items() if value]:
        others = "safetensors" if params.kneser_ney else "onnx or safetensors"
        raise ExportError(f"{', '.join(own)}: {reason}; export {others}")
