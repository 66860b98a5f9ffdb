"""Iterations a second of gptmodel and of a plain loop of the same model, in turn.

Shapes: B batch, T time, V vocab.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.command import progress
from benchmarks.contestants.models import GRAD_CLIP, PlainGPT
from benchmarks.contestants.peak import iteration_operations
from benchmarks.contestants.sizes import Sizes
from benchmarks.figures.results import Results
from benchmarks.figures.tables import ratios, spread
from benchmarks.gpus.setting import finished, params_of, queue, token_ids
from gptmodel.compute.place import Place, pick_dtype
from gptmodel.config import Params
from gptmodel.training.memory import estimate_gpu_bytes
from gptmodel.training.queued import Queued

SIZES = {
    "tutorial": Sizes(n_layer=4, n_head=4, n_embd=64, block_size=32, batch_size=16),
    "nanogpt on a laptop": Sizes(n_layer=4, n_head=4, n_embd=128, block_size=64, batch_size=12, like_nanogpt=True),
    "nanogpt on an A100": Sizes(
        n_layer=6, n_head=6, n_embd=384, block_size=256, batch_size=64, dropout=0.2, like_nanogpt=True
    ),
    "GPT-2": Sizes(n_layer=12, n_head=12, n_embd=768, block_size=1024, batch_size=16, vocab=50257, like_nanogpt=True),
}
TINY = {"tiny": Sizes(n_layer=1, n_head=2, n_embd=16, block_size=8, batch_size=2, dropout=0.1, like_nanogpt=True)}
PLAIN = "plain loop"
Train = Callable[[int], object]
"""Does this many iterations."""


def params_for(sizes: Sizes, device: str, *settings: str) -> Params:
    """Return our settings for sizes: those of the preset that is like the plain loop."""
    names = ("n_layer", "n_head", "n_embd", "block_size", "dropout")
    model = [f"model.{name}={getattr(sizes, name)}" for name in names]
    clip = GRAD_CLIP if sizes.like_nanogpt else 0.0
    rest = [f"train.batch_size={sizes.batch_size}", "model.position=learned", f"train.grad_clip={clip}"]
    adamw = ["train.optimizer=adamw", "train.beta1=0.9", "train.beta2=0.99", "train.max_iters=1000000"]
    preset = "nanogpt" if sizes.like_nanogpt else "tutorial"
    return params_of(preset, [*model, *rest, *adamw, *settings], device)


def ours(sizes: Sizes, device: str, *settings: str) -> Train:
    """Our iterations: captured as a graph where that pays, unless `train.compile` is off and it is told not to be."""
    params = params_for(sizes, device, *[setting for setting in settings if setting != "by single calls"])
    place = Place.of(params, "train")
    _, trainer = queue(params, token_ids(1_000_000, sizes.vocab), place, sizes.vocab)
    assert isinstance(trainer, Queued)
    trainer.chooses = trainer.chooses and "by single calls" not in settings
    iteration = 0

    def train(iterations: int) -> str:
        nonlocal iteration
        for number in range(iteration, iteration + iterations):
            trainer.do(number)
        iteration += iterations
        return "captured" if trainer.graph is not None else ""

    return train


def plain(sizes: Sizes, device: str, *, mode: str | None = None) -> Train:
    """The usual loop: batches from the host, autocast, torch's attention, fused AdamW; with a mode, compiled."""
    model: nn.Module = PlainGPT(sizes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    data = torch.from_numpy(token_ids(1_000_000, sizes.vocab).astype("int64"))
    half = torch.bfloat16 if device == "cuda" else torch.float32

    def loss_of(idx: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device, dtype=half, enabled=half != torch.float32):
            logits = model(idx)
            return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))

    forward = loss_of if mode is None else torch.compile(loss_of, mode=mode)

    def train(iterations: int) -> None:
        for _ in range(iterations):
            starts = torch.randint(len(data) - sizes.block_size, (sizes.batch_size,)).tolist()
            rows = torch.stack([data[start : start + sizes.block_size + 1] for start in starts])
            rows = rows.pin_memory().to(device, non_blocking=True) if device == "cuda" else rows
            loss = forward(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if sizes.like_nanogpt:
                nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
            optimizer.step()

    return train


LONG = 512
"""From this block_size on compiled trainings are compared with and without deterministic algorithms."""
OURS = {
    "gptmodel, by single calls": ("by single calls",),
    "gptmodel": (),
    "gptmodel, not deterministic": ("train.deterministic=false",),
    "gptmodel, compiled": ("train.compile=true",),
    "gptmodel, compiled, not deterministic": ("train.compile=true", "train.deterministic=false"),
}
THEIRS: dict[str, str | None] = {PLAIN: None, "plain loop, compiled": "default"}


def contestants(sizes: Sizes, device: str) -> Iterator[tuple[str, Callable[[], Train]]]:
    """Yield each contestant's name, and how it is made; a CPU has those that compile nothing."""
    for name, settings in OURS.items():
        free = "train.deterministic=false" in settings
        long_enough = sizes.block_size > (LONG if "train.compile=true" in settings else 64)
        if not settings or (device == "cuda" and (long_enough or not free)):
            yield name, partial(ours, sizes, device, *settings)
    for name, mode in THEIRS.items():
        if device == "cuda" or mode is None:
            yield name, partial(plain, sizes, device, mode=mode)


def product_rate(device: str, *, tiny: bool) -> float:
    """Return operations a second of products of two bfloat16 matrices of 8192 x 8192, the median of ten."""
    side = 64 if tiny else 8192
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        finished(torch.device(device))
        started = time.perf_counter()
        torch.mm(a, b)
        finished(torch.device(device))
        times.append(time.perf_counter() - started)
    return float(2 * side**3 / sorted(times[3:])[5])


def speed_at(name: str, sizes: Sizes, device: str, peak: float, seconds: float, rounds: int) -> Results:
    """Time each contestant in rounds of about `seconds`, in turn; one that fails is left out, with its error."""
    trains: dict[str, Train] = {}
    counts: dict[str, int] = {}
    notes: dict[str, str] = {}
    times: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    for contestant, make in contestants(sizes, device):
        started = time.perf_counter()
        before = torch.cuda.memory_allocated() if device == "cuda" else 0
        _peak(device)
        try:
            with _deterministic_only_for(contestant):
                train = make()
                note = train(8)
            finished(torch.device(device))
        except Exception as error:
            notes[contestant] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            progress(f"{name}: {contestant}: {notes[contestant]}")
            continue
        first = time.perf_counter() - started
        memory[contestant] = _peak(device) - before
        trains[contestant], times[contestant] = train, []
        begun = time.perf_counter()
        note = train(4) or note
        finished(torch.device(device))
        counts[contestant] = max(2, min(200, int(seconds * 4 / (time.perf_counter() - begun))))
        notes[contestant] = f"{note}, ready after {first:.1f} s" if note else f"ready after {first:.1f} s"
    for _ in range(rounds):
        for contestant, train in trains.items():
            with _deterministic_only_for(contestant):
                finished(torch.device(device))
                started = time.perf_counter()
                train(counts[contestant])
                finished(torch.device(device))
            times[contestant].append((time.perf_counter() - started) / counts[contestant])
    operations = iteration_operations(sizes)
    for contestant, values in times.items():
        progress(f"{name}: {contestant}: {1e3 * spread(values)['median']:.3f} ms ({notes[contestant]})")
    return {
        "sizes": str(sizes),
        "tokens": sizes.batch_size * sizes.block_size,
        "operations": operations,
        "estimated_memory": _estimate(sizes, device),
        "contestants": {
            contestant: {
                "milliseconds": spread([1e3 * value for value in values]),
                "times_as_fast": ratios(times.get(PLAIN, values), values),
                "of_peak": spread([operations / value / peak for value in values]),
                "memory": memory[contestant],
                "note": notes[contestant],
            }
            for contestant, values in times.items()
        },
        "failed": {contestant: note for contestant, note in notes.items() if contestant not in times},
    }


def _peak(device: str) -> int:
    """Return the most bytes that were allocated since the last call."""
    if device != "cuda":
        return 0
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def _estimate(sizes: Sizes, device: str) -> int:
    """Return the bytes that the library expects a training to take of the card."""
    params = params_for(sizes, device)
    dtype = pick_dtype("auto", torch.device(device))
    return estimate_gpu_bytes(params.model, params.train, sizes.vocab, 1_000_000, dtype)


@contextlib.contextmanager
def _deterministic_only_for(contestant: str) -> Iterator[None]:
    """Let the plain loops, and ours where it says so, compute as torch does by default."""
    before = torch.get_deterministic_debug_mode()
    strict = contestant.startswith("gptmodel") and "not deterministic" not in contestant
    torch.set_deterministic_debug_mode("error" if strict else "default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
