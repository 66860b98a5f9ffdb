"""What a pipeline run will take, from its settings and what was measured: pure arithmetic."""

import math
from dataclasses import dataclass

from gptmodel.config import ModelParams, Params, SampleParams, TrainParams
from gptmodel.evaluation.loss import scored_blocks
from gptmodel.planning.measure import Measured
from gptmodel.planning.text import PlannedText
from gptmodel.sampling.generate import forgotten_at_once
from gptmodel.training.loop import can_be_longer

TRACKING_BYTES = 1_000_000  # a new MLflow store, before any artifact
KEPT_SNAPSHOTS = 2
PLOTS_SECONDS = 1.0  # the library for the plots, and drawing them: the same for every setting


def evaluation_count(train: TrainParams) -> int:
    """Return how many evaluations a training does: before the first iteration, when due, after the last one."""
    return 1 + train.max_iters // train.eval_interval + (train.max_iters % train.eval_interval > 0)


def evaluated_tokens(tokens: int, block_size: int, max_blocks: int | None = None) -> int:
    """Return how many tokens of a split of `tokens` an evaluation scores."""
    full = (tokens - 1) // block_size
    return tokens - 1 if max_blocks is None or max_blocks >= full else max_blocks * block_size


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Where the time goes."""

    start: float  # of a process: libraries and data
    build: float  # of the model and its optimizer
    iterations: float
    evaluations: float  # that the training waits for
    snapshots: float
    evaluate: float  # the stage's passes over both splits, and its plots
    sample: float  # the stage's tokens

    @property
    def training(self) -> float:
        """What metrics/train.json will say: iterations, waiting for evaluations, and snapshots."""
        return self.iterations + self.evaluations + self.snapshots


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole plan; sizes in bytes."""

    evaluations: int
    evaluated: int  # tokens in each of them
    scored: int  # tokens in the evaluate stage
    epochs: float
    seconds: Seconds
    model: int
    snapshots: int  # while it trains
    prepared: int
    end: int  # the state from which a longer training goes on, where one can
    kept: int  # afterwards: this, the files, DVC's copies of them, MLflow's copy of the model


def make_plan(params: Params, text: PlannedText, measured: Measured, start: float) -> Plan:
    """Extrapolate; `start` is how many seconds a process takes before it can compute."""
    train, block_size = params.train, params.model.block_size
    splits = text.train_tokens, text.val_tokens
    evaluated = sum(evaluated_tokens(tokens, block_size, train.eval_iters * train.batch_size) for tokens in splits)
    blocks, _ = scored_blocks(params.evaluate.max_tokens, block_size)
    scored = sum(evaluated_tokens(tokens, block_size, blocks) for tokens in splits)
    iterations = train.max_iters * measured.iteration_seconds
    evaluations = _evaluation_seconds(train, evaluated / block_size * measured.block_seconds, measured)
    snapshots = int((iterations + evaluations) / params.runtime.snapshot_seconds)
    seconds = Seconds(
        start=start,
        build=measured.build_seconds,
        iterations=iterations,
        evaluations=evaluations,
        snapshots=min(snapshots, train.max_iters) * measured.snapshot_seconds,
        evaluate=scored / block_size * measured.evaluate_block_seconds + PLOTS_SECONDS,
        sample=_sample_seconds(params.model, params.sample, measured.token_seconds),
    )
    end = measured.snapshot_bytes if can_be_longer(train) else 0
    tracked = measured.model_bytes + TRACKING_BYTES if params.runtime.mlflow else 0
    return Plan(
        evaluations=evaluation_count(train),
        evaluated=evaluated,
        scored=scored,
        epochs=train.max_iters * train.batch_size * block_size / text.train_tokens,
        seconds=seconds,
        model=measured.model_bytes,
        snapshots=min(snapshots, KEPT_SNAPSHOTS) * measured.snapshot_bytes,
        prepared=text.file_bytes,
        end=end,
        kept=end + 2 * (measured.model_bytes + text.file_bytes) + tracked,
    )


def _evaluation_seconds(train: TrainParams, seconds: float, measured: Measured) -> float:
    """Return what all evaluations, each of so many seconds, add to the iterations.

    Beside them, an evaluation costs what is left of it when the next one is due, of which the thread that trains then
    takes a share; nothing comes after the last one.
    """
    if not measured.beside:
        return evaluation_count(train) * seconds

    def unfinished(iterations: int) -> float:
        return max(0.0, seconds - iterations * measured.iteration_seconds)

    intervals, last = divmod(train.max_iters, train.eval_interval)
    waiting = intervals * unfinished(train.eval_interval) + (unfinished(last) if last else 0.0) + seconds
    return waiting * measured.threads / (measured.threads + 1)


def _sample_seconds(model: ModelParams, sample: SampleParams, token_seconds: tuple[float, float]) -> float:
    """Return the time of all new tokens: past block_size, each that makes the block forget has the rest read again."""
    cached, read_again = token_seconds
    beginning = 1 if sample.prompt is None else len(sample.prompt)
    growing = max(0, min(sample.max_new_tokens, model.block_size - beginning))
    again = math.ceil((sample.max_new_tokens - growing) / forgotten_at_once(sample, model.block_size))
    return (sample.max_new_tokens - again) * cached + again * read_again
