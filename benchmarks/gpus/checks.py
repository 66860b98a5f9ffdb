"""What has to be right on a device before its times mean anything.

Each check returns a figure and whether it is good. Errors are norms of differences from float64 on a CPU, as shares.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpus.setting import SMALL, new_state, params_of, queue, same, token_ids, train, weights_of
from gptmodel.compute.place import Place
from gptmodel.compute.random import torch_generator
from gptmodel.config import Params
from gptmodel.errors import TrainingError
from gptmodel.nn.dropout import Dropout
from gptmodel.nn.transformer import TransformerModel
from gptmodel.sampling.generate import generate
from gptmodel.sampling.incremental import IncrementalModel
from gptmodel.training.memory import place_in_memory
from gptmodel.training.queued import AHEAD, Queued
from gptmodel.training.state import TrainingState
from gptmodel.training.step import Update, dropout

SWITCHES = {
    "tutorial": ["model.position=none"],
    "learned positions": [],
    "pre-norm": ["model.norm=pre"],
    "rmsnorm": ["model.norm_type=rmsnorm"],
    "rotary": ["model.position=rotary"],
    "gelu": ["model.activation=gelu"],
    "relu2": ["model.activation=relu2"],
    "qk_norm": ["model.qk_norm=true"],
    "softcap": ["model.logit_softcap=15"],
    "n-grams": ["model.ngram_orders=[2,3]"],
    "long blocks": ["model.block_size=128"],
}
OPTIMIZERS = {
    "adamw": ["train.grad_clip=1"],
    "sgd": ["train.optimizer=sgd", "train.learning_rate=0.1"],
    "muon": ["train.optimizer=muon", "train.muon_lr=0.02", "train.muon_momentum=0.95"],
    "n-gram tables": ["model.ngram_orders=[2,3]"],
    "dropout": ["model.dropout=0.2"],
    "teacher": ["train.teacher_order=3", "train.teacher_share=0.3"],
    "long blocks, dropout": ["model.block_size=128", "model.dropout=0.2"],
    "compiled": ["train.compile=true"],
    "compiled, dropout": ["train.compile=true", "model.dropout=0.2"],
}
BOUNDS = {"float32": 1e-5, "bfloat16": 3e-2}


@dataclass(frozen=True)
class Check:
    """What was checked, what came out, and whether it is good."""

    name: str
    figure: str
    good: bool


def checks(device: str, *, tiny: bool = False) -> Iterator[Check]:
    """Go through all checks, or some of each kind; one that fails by an error says so and does not stop the others."""
    for name, check in every_check(device, tiny=tiny):
        try:
            figure, good = check()
        except Exception as error:
            figure, good = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}", False
        yield Check(name, figure, good)


def every_check(device: str, *, tiny: bool = False) -> Iterator[tuple[str, Callable[[], tuple[str, bool]]]]:
    """Yield each check's name, and what does it."""
    some = 2 if tiny else None
    for name, settings in list(SWITCHES.items())[:some]:
        for dtype in BOUNDS:
            yield (
                f"logits and gradients in {dtype}: {name}",
                partial(exactness, device, settings, dtype),
            )
    for name, settings in list(OPTIMIZERS.items())[:some]:
        if device == "cpu" and "train.compile=true" in settings:
            continue
        yield f"same bytes twice, and resumed: {name}", partial(repeats, device, settings)
    for name in ("dropout", "adamw", "sgd", "muon", "long blocks, dropout")[: 1 if tiny else None]:
        settings = OPTIMIZERS[name]
        yield f"captured as by single calls: {name}", partial(captured, device, settings)
        yield f"nothing waits for the device: {name}", partial(no_waiting, device, settings)
    yield "dropout by seed and iteration", partial(masks, device)
    yield "a loss that is not finite updates nothing", partial(not_finite, device)
    yield "float16 with its scaler", partial(half, device)
    yield "sampled tokens are those of the plain loop", partial(sampling, device)
    yield "too little memory is one line", partial(out_of_memory, device)


def exactness(device: str, settings: Sequence[str], dtype: str) -> tuple[str, bool]:
    """Compare logits and gradients of a first model with those in float64 on a CPU."""
    params = params_of("params", [*SMALL, *settings, f"train.dtype={dtype}"], device)
    place, ids = Place.of(params, "train"), token_ids(5000)
    model = new_state(params, ids, Place.on("cpu")).model.transformer
    with torch.no_grad():
        for name, weight in model.named_parameters():  # first ones of n-gram tables are zeros
            if "ngrams" in name:
                weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(1))
    batch = torch.from_numpy(ids[:264].astype("int64")).view(8, 33)[:, : params.model.block_size + 1]
    logits, gradients = _gradients(model, batch, place)
    exact, exact_gradients = _gradients(model.double(), batch, Place.on("cpu"))
    error = max(_error([logits], [exact]), _error(gradients, exact_gradients))
    return f"{error:.1e}", error < BOUNDS[dtype]


def _gradients(model: TransformerModel, ids: Tensor, place: Place) -> tuple[Tensor, list[Tensor]]:
    model = copy.deepcopy(model).to(place.device).train()
    idx, targets = ids[:, :-1].to(place.device), ids[:, 1:].to(place.device)
    with torch.autocast(place.device.type, dtype=place.dtype, enabled=place.dtype != torch.float32):
        logits = model(idx)
        loss = F.cross_entropy(
            logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)), targets.flatten()
        )
    gradients = torch.autograd.grad(loss, [*model.parameters()])
    return logits.detach().cpu().double(), [grad.to_dense().cpu().double() for grad in gradients]


def _error(values: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    pairs = list(zip(values, exact, strict=True))
    difference = sum(float((a - b).square().sum()) for a, b in pairs)
    return math.sqrt(difference / sum(float(b.square().sum()) for _, b in pairs))


def repeats(device: str, settings: Sequence[str]) -> tuple[str, bool]:
    """Train twice, and once in two pieces with a snapshot between them: the same weights to the bit."""
    params, ids = params_of("params", [*SMALL, *settings], device), token_ids(5000)
    first, second = (weights_of(train(params, ids)) for _ in range(2))
    part = train(params, ids, stop_after=17)
    snapshot = copy.deepcopy(part.state_dict())
    fresh = new_state(params, ids, Place.of(params, "train"))
    fresh.load_state_dict(snapshot)
    resumed = weights_of(train(params, ids, fresh))
    twice, again = same(first, second), same(first, resumed)
    return f"twice {twice}, resumed {again}", twice and again


def captured(device: str, settings: Sequence[str]) -> tuple[str, bool]:
    """Train by single calls, and by a CUDA graph from the sixth iteration on: the same weights to the bit."""
    results, graphs = [], []
    for capture in (False, True):
        state, queued = _queued(params_of("params", [*SMALL, *settings], device))
        for iteration in range(40):
            if iteration == 5 and capture and device == "cuda":
                queued.capture()
            queued.do(iteration)
        queued.loss()
        results.append(weights_of(state))
        graphs.append(queued.graph is not None)
    return f"same {same(*results)}", same(*results) and graphs == [False, device == "cuda"]


def _queued(params: Params) -> tuple[TrainingState, Queued]:
    """Return a training whose iterations are queued; whether they are captured is left to the check."""
    state, queued = queue(params, token_ids(5000), Place.of(params, "train"))
    queued.chooses = False
    return state, queued


def no_waiting(device: str, settings: Sequence[str]) -> tuple[str, bool]:
    """Do iterations, captured and not, while torch raises an error for whatever waits for the device."""
    _, queued = _queued(params_of("params", [*SMALL, *settings], device))
    for iteration in range(3):
        queued.do(iteration)
    for iterations in (range(3, 10), range(10, 3 * AHEAD)):
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        try:
            for iteration in iterations:
                queued.do(iteration)
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        if device == "cuda" and queued.graph is None:
            queued.capture()
    return "no wait", True


def not_finite(device: str) -> tuple[str, bool]:
    """Make a weight infinite before iteration 20: the error names it, and no other weight moves after it."""
    state, queued = _queued(params_of("params", SMALL, device))
    for iteration in range(20):
        if iteration == 5 and device == "cuda":
            queued.capture()
        queued.do(iteration)
    queued.loss()
    with torch.no_grad():
        state.model.transformer.decoder.bias[0] = torch.inf
    before = weights_of(state)
    try:
        for iteration in range(20, 200):
            queued.do(iteration)
        queued.loss()
    except TrainingError as error:
        line = str(error)
    else:
        return "no error", False
    return line.partition(",")[0], "at iteration 20," in line and same(before, weights_of(state))


def half(device: str) -> tuple[str, bool]:
    """Train in float16: the scale falls from 65,536 where gradients overflow, and the loss falls."""
    if device == "cpu":
        return "not on a CPU", True
    params = params_of("params", [*SMALL, "train.dtype=float16", "train.max_iters=200"], device)
    state = train(params, token_ids(5000))
    first, last = state.history[0].val_loss, state.history[-1].val_loss
    return f"val {first:.2f} to {last:.2f}, scale {state.scaler.get_scale():,.0f}", last < first - 0.5


def sampling(device: str) -> tuple[str, bool]:
    """Draw with kept keys and values, and by a loop that gives the model all ids each time."""
    params = params_of(
        "params", [*SMALL, "sample.max_new_tokens=80", "sample.num_samples=4", "sample.past_block=crop"], device
    )
    place = Place.of(params, "sample")
    state = new_state(params, token_ids(5000), place)
    model, block_size = state.model.transformer.eval(), params.model.block_size
    start = torch.zeros(4, 1, dtype=torch.int64, device=place.device)
    greedy = params.sample.model_copy(update={"temperature": 0.0})
    steps = generate(IncrementalModel(state.model), start, greedy, torch_generator(1, 1, device=place.device))
    drawn = [step.ids for step in steps]
    ids = start
    with torch.no_grad():
        for _ in range(80):
            ids = torch.cat((ids, model(ids[:, -block_size:])[:, -1].argmax(-1, keepdim=True)), dim=1)
    different = int((torch.stack(drawn, dim=1) != ids[:, 1:]).sum())
    return f"{different} of {4 * 80} tokens differ", different == 0


def out_of_memory(device: str) -> tuple[str, bool]:
    """Ask for more memory than there is, in the estimate's eyes and beyond them."""
    if device == "cpu":
        return "not on a CPU", True
    free = torch.cuda.mem_get_info()[0]
    block, wide = 1024, ["model.n_embd=1024", "model.n_layer=12", "model.n_head=16"]
    batch = int(0.9 * free / (12 * 44 * 1024 * block))
    params = params_of(
        "params",
        [*SMALL, *wide, f"model.block_size={block}", f"train.batch_size={batch}", "train.dtype=float32"],
        device,
    )
    try:
        train(params, token_ids(5000))
    except TrainingError as error:
        torch.cuda.empty_cache()
        lines = [str(error)]
        try:
            huge = params.model.model_copy(update={"n_embd": 1 << 15, "n_layer": 96})
            place_in_memory(params.model_copy(update={"model": huge}), 256, 5000, Place.of(params, "train"))
        except TrainingError as refusal:
            lines.append(str(refusal))
        return "; ".join(line.partition(":")[0] for line in lines), len(lines) == 2
    return f"a batch of {batch} fits", False


def masks(device: str) -> tuple[str, bool]:
    """Draw dropout's numbers for an iteration twice, and for the next one."""
    params = params_of("params", [*SMALL, "model.dropout=0.2"], device)
    place, drawn = Place.of(params, "train"), []
    for iteration in (7, 7, 8):
        with dropout(Update.at(iteration, params), 0, place):
            drawn.append(Dropout(0.2)(torch.ones(1000, device=place.device)))
    return "a function of seed and iteration", torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
