"""`Params`, a frozen class for each section of params.yaml: the only owner of keys, types, limits, words and defaults.

The comments of params.yaml, the presets and the settings in `--help` are made from here. See gptmodel.params_file for
how a file becomes Params.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gptmodel.fetch_params import FetchParams
from gptmodel.prepare_params import PrepareParams
from gptmodel.runtime_params import RuntimeParams
from gptmodel.section import Section, key

Text = Annotated[str, Field(min_length=1)]
Device = Literal["auto", "cpu", "cuda", "mps"]
PastBlock = Literal["crop", "shift"]
DEVICE_WORDS = "where to compute; auto = cuda if there is one, else cpu"
SETTINGS_OF = {"sgd": (), "adamw": ("beta1", "beta2"), "muon": ("beta1", "beta2", "muon_lr", "muon_momentum")}


class Sizes(Section):
    """The arguments that the tutorial gives a model."""

    block_size: int = key(32, "context length, in tokens", gt=0, le=2**20)
    n_embd: int = key(64, "width: numbers in the vector of a token", gt=0, le=2**16)
    n_head: int = key(4, "attention heads per block; has to divide n_embd", gt=0, le=2**16)
    n_layer: int = key(4, "number of blocks", gt=0, le=2**16)
    dropout: float = key(0.0, "share of activations set to zero in training", ge=0.0, lt=1.0)


class Switches(Section):
    """The architecture beside those arguments; the modules of gptmodel.nn are handed it whole."""

    norm: Literal["post", "pre"] = key("post", "normalise after each sub-layer, as in the tutorial, or before it")
    norm_type: Literal["layernorm", "rmsnorm"] = key("layernorm", "how to normalise; rmsnorm keeps the mean")
    position: Literal["none", "learned", "rotary"] = key("learned", "how the model knows the position of a token")
    activation: Literal["relu", "gelu", "gelu_tanh", "relu2"] = key("relu", "gelu_tanh = GPT-2's, relu2 = ReLU squared")
    qkv_bias: bool = key(False, "add biases to queries, keys and values, as GPT-2 does")
    qk_norm: bool = key(False, "normalise queries and keys")
    attention_dropout: float | None = key(
        None, "share of attention weights set to zero in training; null = dropout", ge=0.0, lt=1.0
    )
    zero_init: bool = key(False, "start each block as the identity")
    logit_softcap: float = key(0.0, "limit logits smoothly to this size; 15 is usual, 0 = off", ge=0.0)
    scale_embedding: bool = key(True, "multiply the token embedding by sqrt(n_embd)")
    tie_embeddings: bool = key(False, "give the logits by the matrix of the token embedding, as GPT-2 does")
    decoder_bias: bool = key(True, "add a bias to the logits; false can be exported more widely (docs/EXPORT.md)")
    ngram_orders: tuple[int, ...] = key(
        [], "lengths of the n-grams with hashed input embeddings, such as [2, 3]; [] = none", strict=False
    )
    ngram_dropout: float = key(0.0, "share of tokens that train without their n-grams", ge=0.0, lt=1.0)

    def dropout_of_attention(self, dropout: float) -> float:
        """Return the share of attention weights that is dropped, where `dropout` is that of activations."""
        return dropout if self.attention_dropout is None else self.attention_dropout


TUTORIAL = Switches.model_validate(Switches.defaults() | {"position": "none"})
"""The tutorial to the letter."""


class ModelParams(Switches, Sizes):
    """The sizes and switches of the transformer, and the counts of n-grams beside it."""

    kneser_ney: int = key(
        0, "mix in counts of n-grams up to this length; at most 9 for 126 characters, 0 = off", ge=0, le=16
    )
    kneser_ney_share: float = key(0.0, "weight of these counts in a prediction; 0.35 is usual", ge=0.0, lt=1.0)

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
            faults.append(f"model.kneser_ney_share = 0: leaves no weight for model.kneser_ney = {self.kneser_ney}")
        _raise_if(faults)
        return self


class TrainParams(Section):
    """How the model is trained. The words are the tutorial's: an iteration is one update."""

    batch_size: int = key(16, "sequences per iteration", gt=0)
    max_iters: int = key(5000, "number of iterations", gt=0)
    patience: int | None = key(
        None, "evaluations in a row without a lower val loss that end the training; null = they never do", gt=0
    )
    keep: Literal["last", "best"] = key("last", "the weights in model.pth: the last, or those of the lowest val loss")
    eval_interval: int = key(100, "iterations from one evaluation to the next", gt=0)
    eval_iters: int = key(200, "batches per split in an evaluation", gt=0)
    optimizer: Literal["sgd", "adamw", "muon"] = key(
        "adamw", "how to update weights; muon takes the blocks' matrices, adamw the rest"
    )
    learning_rate: float = key(1e-3, "size of an update", gt=0.0)
    lr_schedule: Literal["constant", "cosine", "linear"] = key("constant", "what the learning rate does after warm-up")
    min_lr: float = key(0.0, "learning rate at the end of a cosine or linear schedule", ge=0.0)
    warmup_iters: int = key(0, "iterations in which the learning rate rises from 0", ge=0)
    weight_decay: float = key(0.01, "pulls matrices towards zero, but no biases, gains or embedding tables", ge=0.0)
    ngram_lr: float | None = key(
        None, "learning rate of the n-gram tables, on the same schedule; null = learning_rate", gt=0.0
    )
    ngram_floor: float = key(0.0, "slows updates of rare n-grams, which memorise; 1 is usual, 0 = off", ge=0.0)
    muon_lr: float | None = key(None, "learning rate of Muon's matrices, on the same schedule; 0.02 is usual", gt=0.0)
    muon_momentum: float | None = key(None, "decay rate of Muon's average of gradients; 0.95 is usual", ge=0.0, lt=1.0)
    beta1: float | None = key(0.9, "decay rate of AdamW's average of gradients; 0.9 is usual", ge=0.0, lt=1.0)
    beta2: float | None = key(
        0.999, "decay rate of AdamW's average of squared gradients; 0.999 is usual", ge=0.0, lt=1.0
    )
    teacher_order: int = key(
        0, "longest n-grams whose counts in each half of the text teach the other; 6 is usual, 0 = off", ge=0, le=16
    )
    teacher_share: float = key(0.0, "weight of what they predict, beside the text; 0.3 is usual", ge=0.0, lt=1.0)
    init_from: str | None = key(
        None, "model.pth whose weights to start from, of the same tokenizer and sizes; null = random", min_length=1
    )
    grad_clip: float = key(0.0, "scale gradients down to this norm; 1 is usual, 0 = off", ge=0.0)
    seed: int = key(1337, "seed of all random numbers", ge=0)
    parts: int = key(
        1, "pieces of a batch, shared by threads or processes; another number gives other bytes", gt=0, le=1024
    )
    shard: bool = key(False, "share weights out over the processes, for a model larger than one card")
    device: Device = key("auto", DEVICE_WORDS)
    deterministic: bool = key(True, "the same bytes each time on a GPU too; false is faster for long blocks")
    compile: bool = key(
        False, "compile the model; needs a C++ compiler (cuda: Triton) and half a minute the first time"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = key(
        "auto", "arithmetic of the forward pass; auto = 16 bits on cuda"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        missing = [name for name in SETTINGS_OF[self.optimizer] if getattr(self, name) is None]
        faults = [f"train.{name} is null: optimizer {self.optimizer} needs it" for name in missing]
        if missing:
            faults[-1] += f"; usual are {' '.join(map(_usual, missing))}"
        if self.teacher_order and not self.teacher_share:
            faults.append(f"train.teacher_share = 0: leaves no weight for train.teacher_order = {self.teacher_order}")
        if self.init_from is not None and "://" in self.init_from:
            faults.append("train.init_from: has to be a path; download that model, and name the file")
        if self.min_lr > self.learning_rate:
            faults.append(f"train.min_lr = {self.min_lr}: has to be at most train.learning_rate = {self.learning_rate}")
        if self.parts > self.batch_size:
            faults.append(f"train.parts = {self.parts}: can be at most train.batch_size = {self.batch_size}")
        if self.warmup_iters >= self.max_iters:
            faults.append(f"train.warmup_iters = {self.warmup_iters}: has to be below max_iters = {self.max_iters}")
        if self.dtype == "float16" and self.device == "cpu":
            faults.append("train.dtype = float16: needs device cuda; on cpu use float32 or bfloat16")
        _raise_if(faults)
        return self


def _usual(name: str) -> str:
    """Return how the command line sets a key of `train` to the value that its words call usual."""
    match = re.search(r"([\d.]+) is usual", str(TrainParams.model_fields[name].description))
    return f"-S train.{name}={match[1] if match else '...'}"


class EvaluateParams(Section):
    """How the trained model is judged."""

    overfit_gap: float = key(
        0.1, "overfitting: val loss minus train loss is more than this share of the val loss", gt=0.0, lt=1.0
    )
    max_tokens: int | None = key(
        None, "tokens of each split to score, spread evenly over it; null = all, each once", gt=0
    )
    threads: int = key(2, "CPU threads; they change the time, but no loss", gt=0, le=1024)
    device: Device = key("auto", DEVICE_WORDS)


class SampleParams(Section):
    """What is sampled from the trained model."""

    prompt: str | None = key(
        None, "text that the samples continue; null = a line end, or the first known character", min_length=1
    )
    max_new_tokens: int = key(500, "tokens to add to the prompt", gt=0)
    num_samples: int = key(3, "number of samples, drawn together", gt=0, le=2**16)
    temperature: float = key(0.8, "0 = always the likeliest token, 1 = as the model predicts", ge=0.0)
    top_k: int = key(0, "draw from the k likeliest tokens; 0 = off", ge=0)
    top_p: float = key(1.0, "draw from the likeliest tokens with this probability in all; 1 = off", gt=0.0, le=1.0)
    stop: tuple[Text, ...] = key(
        [], 'texts that end a sample and are no part of it, such as ["\\n\\n"]; [] = none', strict=False
    )
    past_block: PastBlock = key("shift", "a full block forgets its oldest token, or its older half, which is faster")
    seed: int = key(1337, "seed of all random numbers", ge=0)
    on_unknown: Literal["error", "replace"] = key(
        "error", "what to do with a prompt character that the model does not know"
    )
    threads: int = key(
        1, "CPU threads; they change the time, not the text; 2 gain a tenth if both cores are idle", gt=0, le=1024
    )
    device: Device = key("auto", DEVICE_WORDS)


class Params(Section):
    """A whole params file."""

    fetch: FetchParams
    prepare: PrepareParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    sample: SampleParams
    runtime: RuntimeParams


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation  # type: ignore[misc]  # each is annotated with its class
    for name, field in Params.model_fields.items()
    if field.annotation
}
"""The class of each section, in the order of a file."""


def _raise_if(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))
