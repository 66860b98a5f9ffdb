"""A plan as a table that a newcomer reads, with how it was found."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gptmodel.compute.limits import memory_limit
from gptmodel.units import duration, size

if TYPE_CHECKING:
    from gptmodel.config import Params
    from gptmodel.planning.measure import Measured
    from gptmodel.planning.plan import Plan
    from gptmodel.planning.text import PlannedText

Row = tuple[str, str, str]  # name, value, remark


def table(params: "Params", text: "PlannedText", measured: "Measured", plan: "Plan", root: Path) -> Iterator[str]:
    """Yield the lines of the table."""
    rows = [*_work(params, text, measured, plan), *_room(measured, plan, root), *_time(text, measured, plan)]
    width = max(len(name) for name, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    for name, value, remark in rows:
        yield f"{name:<{width}}  {value:>{value_width}}  {remark}".rstrip()
    yield from _how(params, text, measured)


def _work(params: "Params", text: "PlannedText", measured: "Measured", plan: "Plan") -> Iterator[Row]:
    train, block_size = params.train, params.model.block_size
    tokens = train.batch_size * block_size
    yield "parameters", f"{measured.parameters:,}", f"vocab_size {text.tokenizer.vocab_size}"
    sequences = "sequence" if train.batch_size == 1 else "sequences"
    yield "tokens per iteration", f"{tokens:,}", f"{train.batch_size:,} {sequences} of {block_size:,}"
    remark = (
        f"{train.max_iters * tokens:,} tokens, {plan.epochs:.2f} times the {text.train_tokens:,} of the train split"
    )
    if train.patience is not None:
        several = f"{train.patience:,} evaluations without a lower val loss end"
        ends = "an evaluation without a lower val loss ends" if train.patience == 1 else several
        remark += f", at most: {ends} the training"
    yield "iterations", f"{train.max_iters:,}", remark
    beside = ", beside the iterations" if measured.beside else ""
    yield "evaluations", f"{plan.evaluations:,}", f"{plan.evaluated:,} tokens of both splits in each{beside}"


def _room(measured: "Measured", plan: "Plan", root: Path) -> Iterator[Row]:
    limit = memory_limit()
    on_gpu = measured.platform["device"] != "cpu"
    there = "of the device" if on_gpu else f"; {limit.words} {size(limit.bytes)}"
    peak = f"at the peak of train{measured.world.words}"
    yield "memory", size(measured.memory), f"{peak}{' ' if on_gpu else ''}{there}"
    free = shutil.disk_usage(root).free
    parts = f"model.pth {size(plan.model)}, data/prepared {size(plan.prepared)}, and DVC's and MLflow's copies"
    yield "disk", size(plan.kept), f"{parts}; {size(free)} are free"
    if plan.end:
        yield "of it runs/ends", size(plan.end), "the end of the training, from where a longer one goes on"
    if plan.snapshots:
        yield "disk while it trains", size(plan.snapshots), "snapshots, to go on after a kill"
    if plan.kept + plan.snapshots > free:
        yield "", "", "warning: that is more than is free; `gptmodel doctor` says what frees space"


def _time(text: "PlannedText", measured: "Measured", plan: "Plan") -> Iterator[Row]:
    seconds = plan.seconds
    share = seconds.evaluations / seconds.training
    waiting = "waiting for " if measured.beside else ""
    remark = f"including {waiting}evaluations {duration(seconds.evaluations)} ({share:.0%})"
    if seconds.snapshots:
        remark += f", snapshots {duration(seconds.snapshots)}"
    start = f"plus {duration(seconds.start)} to start"
    yield "train", duration(seconds.training), f"{remark}; plus {duration(seconds.start + seconds.build)} to start"
    tokens = text.train_tokens + text.val_tokens - 2
    scored = "every token" if plan.scored == tokens else f"{plan.scored:,} of {tokens:,} tokens"
    yield "evaluate", duration(seconds.evaluate), f"{scored} of both splits, and the plots; {start}"
    yield "sample", duration(seconds.sample), start
    total = seconds.training + seconds.evaluate + seconds.sample + 3 * seconds.start + seconds.build
    yield "train to sample", duration(total), "fetch, prepare and DVC's own work come on top"


def _how(params: "Params", text: "PlannedText", measured: "Measured") -> Iterator[str]:
    low, high = measured.spread
    threads, device = measured.threads, measured.platform["device"]
    yield (
        f"measured: {measured.iterations} iterations of {_ms(measured.iteration_seconds)} (median; the middle half "
        f"{_ms(low)} to {_ms(high)}) and {measured.passes} evaluation passes, "
        f"on {threads} {'thread' if threads == 1 else 'threads'}, {device}, {measured.platform['dtype']}"
    )
    if params.runtime.launcher is not None:
        yield "memory and times are those of one process: runtime.launcher decides how many there will be"
    elif measured.world.size > 1:
        yield f"times are those of one process, which did the work of all {measured.world.size}"
    yield f"text: {text.origin}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"
