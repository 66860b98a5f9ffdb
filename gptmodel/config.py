"""params.yaml -> frozen `Params`, one model per section; the only place that knows keys, types and combinations.

Defaults live in params.yaml alone: every key is required, and an unknown key is an error. All faults of a file
are reported at once.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gptmodel.errors import ConfigError
from gptmodel.params_file import apply_override, read_params, shown

Device = Literal["auto", "cpu", "cuda", "mps"]
SETTINGS_OF = {"sgd": (), "adamw": ("beta1", "beta2"), "muon": ("beta1", "beta2", "muon_lr", "muon_momentum")}


class Section(BaseModel):
    """A frozen section of params.yaml: no unknown keys, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FetchParams(Section):
    """Where the text comes from."""

    source: str = Field(min_length=1, description="shakespeare, own, a local path or a URL")
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the file a URL serves")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "://" in self.source and self.sha256 is None:
            raise ValueError("fetch.sha256 is null: a URL needs the sha256 of the file it serves")
        return self


class PrepareParams(Section):
    """How the text becomes token ids."""

    tokenizer: Literal["char", "byte"] = Field(description="one token for each character, or for each byte")
    train_fraction: float = Field(gt=0.0, lt=1.0, description="share of the ids that trains; the rest validates")


class ModelParams(Section):
    """The shape of the transformer and its switches."""

    block_size: int = Field(gt=0, le=2**20, description="context length, in tokens")
    n_embd: int = Field(gt=0, le=2**16, description="width")
    n_head: int = Field(gt=0, le=2**16, description="attention heads; they divide n_embd")
    n_layer: int = Field(gt=0, le=2**16, description="blocks")
    dropout: float = Field(ge=0.0, lt=1.0, description="share of activations dropped in training")
    norm: Literal["post", "pre"] = Field(description="normalise after each sub-layer, or before it")
    norm_type: Literal["layernorm", "rmsnorm"] = Field(description="how to normalise")
    position: Literal["none", "learned", "rotary"] = Field(description="how a token knows where it stands")
    activation: Literal["relu", "gelu", "relu2"] = Field(description="non-linearity of the feed-forward layer")
    qk_norm: bool = Field(description="normalise queries and keys")
    zero_init: bool = Field(description="blocks start as the identity")
    logit_softcap: float = Field(ge=0.0, description="bend logits smoothly to within this; 0 = off")
    scale_embedding: bool = Field(description="multiply the token embedding by sqrt(n_embd)")
    ngram_orders: tuple[int, ...] = Field(strict=False, description="hashed n-gram input embeddings, e.g. [2, 3]")
    ngram_dropout: float = Field(ge=0.0, lt=1.0, description="share of tokens without their n-grams in training")
    kneser_ney: int = Field(ge=0, le=16, description="longest counted n-gram, mixed into predictions; 0 = off")
    kneser_ney_share: float = Field(ge=0.0, lt=1.0, description="share of the counts in a prediction")

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = []
        if self.n_embd % self.n_head:
            faults.append(f"model.n_head = {self.n_head}: does not divide model.n_embd = {self.n_embd}")
        elif self.position == "rotary" and self.n_embd // self.n_head % 2:
            faults.append(
                f"model.position = rotary: needs an even head size, but n_embd / n_head = {self.n_embd // self.n_head}"
            )
        if any(order < 2 or order > 8 for order in self.ngram_orders) or len(set(self.ngram_orders)) < len(
            self.ngram_orders
        ):
            faults.append(f"model.ngram_orders = {list(self.ngram_orders)}: needs distinct orders from 2 to 8")
        if self.kneser_ney and not self.kneser_ney_share:
            faults.append(f"model.kneser_ney_share = 0: leaves nothing for model.kneser_ney = {self.kneser_ney}")
        _raise_if(faults)
        return self


class TrainParams(Section):
    """How the model is trained. The words are the tutorial's: an iteration is one update."""

    batch_size: int = Field(gt=0, description="sequences in an iteration")
    max_iters: int = Field(gt=0, description="iterations")
    eval_interval: int = Field(gt=0, description="iterations between two evaluations")
    eval_iters: int = Field(gt=0, description="batches of each split in an evaluation")
    optimizer: Literal["sgd", "adamw", "muon"] = Field(description="how weights are updated")
    learning_rate: float = Field(gt=0.0, description="size of an update")
    lr_schedule: Literal["constant", "cosine", "linear"] = Field(description="how the learning rate falls to min_lr")
    min_lr: float = Field(ge=0.0, description="where a cosine or linear schedule ends")
    warmup_iters: int = Field(ge=0, description="iterations of linear rise to learning_rate")
    weight_decay: float = Field(ge=0.0, description="pull of matrices towards zero")
    ngram_lr: float | None = Field(gt=0.0, description="learning rate of the n-gram tables; null: learning_rate")
    ngram_floor: float = Field(ge=0.0, description="holds back rows of rare n-grams; 0 = off")
    muon_lr: float | None = Field(gt=0.0, description="learning rate of Muon's matrices, on the same schedule")
    muon_momentum: float | None = Field(ge=0.0, lt=1.0, description="Muon's memory of the gradient")
    beta1: float | None = Field(ge=0.0, lt=1.0, description="AdamW's memory of the gradient")
    beta2: float | None = Field(ge=0.0, lt=1.0, description="AdamW's memory of its square")
    grad_clip: float = Field(ge=0.0, description="largest gradient norm; 0 = off")
    seed: int = Field(ge=0, lt=2**63, description="start of all random numbers")
    threads: int = Field(gt=0, le=1024, description="CPU threads; another number gives other bytes")
    device: Device = Field(description="where to compute; auto takes cuda if there is one")
    compile: bool = Field(description="train on compiled code; needs a C++ compiler, and seconds to begin")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(description="arithmetic of the forward pass")

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = []
        usual = {"beta1": 0.9, "beta2": 0.999, "muon_lr": 0.02, "muon_momentum": 0.95}
        faults += [
            f"train.{key} is null: optimizer {self.optimizer} needs it ({usual[key]:g} is usual)"
            for key in SETTINGS_OF[self.optimizer]
            if getattr(self, key) is None
        ]
        if self.min_lr > self.learning_rate:
            faults.append(f"train.min_lr = {self.min_lr}: is above train.learning_rate = {self.learning_rate}")
        if self.warmup_iters >= self.max_iters:
            faults.append(f"train.warmup_iters = {self.warmup_iters}: leaves none of max_iters = {self.max_iters}")
        if self.dtype == "float16" and self.device == "cpu":
            faults.append("train.dtype = float16: needs device cuda; on cpu use float32 or bfloat16")
        _raise_if(faults)
        return self


class EvaluateParams(Section):
    """How the trained model is judged."""

    overfit_gap: float = Field(gt=0.0, lt=1.0, description="overfitting: gap above this share of the val loss")
    threads: int = Field(gt=0, le=1024, description="CPU threads")
    device: Device = Field(description="where to compute")


class SampleParams(Section):
    """What is sampled from the trained model."""

    prompt: str = Field(min_length=1, description="text the samples continue")
    max_new_tokens: int = Field(gt=0, description="tokens to add to the prompt")
    num_samples: int = Field(gt=0, le=2**16, description="samples drawn together")
    temperature: float = Field(ge=0.0, description="0 = always the likeliest token, 1 = as the model says")
    top_k: int = Field(ge=0, description="draw from the k likeliest tokens; 0 = off")
    top_p: float = Field(gt=0.0, le=1.0, description="draw from the likeliest tokens of this probability; 1 = off")
    seed: int = Field(ge=0, lt=2**63, description="start of all random numbers")
    on_unknown: Literal["error", "replace"] = Field(description="a prompt character the model does not know")
    threads: int = Field(gt=0, le=1024, description="CPU threads")
    device: Device = Field(description="where to compute")


class RuntimeParams(Section):
    """What cannot change a result: no stage depends on this section."""

    snapshot_seconds: float = Field(gt=0.0, description="time between two snapshots for resuming")
    progress: Literal["auto", "bar", "lines", "none"] = Field(description="how progress is shown")
    mlflow: bool = Field(description="track runs in MLflow")
    experiment: str = Field(min_length=1, description="name of the MLflow experiment")


class Params(Section):
    """A whole params file."""

    fetch: FetchParams
    prepare: PrepareParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    sample: SampleParams
    runtime: RuntimeParams


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read a params file and apply `section.key=value` overrides.

    Raises ConfigError, with every fault of the file and the overrides in one line.
    """
    values = read_params(path)
    for override in overrides:
        apply_override(values, override)
    faults: list[str] = []
    sections: dict[str, Section] = {}
    for name, field in Params.model_fields.items():
        kind: Any = field.annotation
        if name not in values:
            faults.append(f"{name}: section missing (presets/ holds complete files)")
            continue
        if not isinstance(values[name], Mapping):
            faults.append(f"{name} = {shown(values[name])}: has to be a section of keys and values")
            continue
        try:
            sections[name] = kind.model_validate(values[name])
        except ValidationError as error:
            faults += _faults(name, kind, error)
    faults += [f"{name}: unknown section{_hint(name, Params)}" for name in values if name not in Params.model_fields]
    if faults:
        where = f"{path} with -S {' -S '.join(overrides)}" if overrides else str(path)
        raise ConfigError(f"{where}: " + "; ".join(faults))
    return Params.model_validate(sections)


def _faults(name: str, kind: type[Section], error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors():
        if not fault["loc"]:  # a cross-field check, which words its own line
            lines.append(fault["msg"].removeprefix("Value error, "))
            continue
        key = ".".join(str(part) for part in (name, *fault["loc"]))
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{_hint(str(fault['loc'][0]), kind)}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing (presets/ holds complete files)")
        else:
            message = fault["msg"].removeprefix("Input ")
            lines.append(f"{key} = {shown(fault['input'])}: {message}")
    return lines


def _hint(word: str, kind: type[BaseModel]) -> str:
    close = difflib.get_close_matches(word, kind.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(kind.model_fields)}"


def _raise_if(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))
