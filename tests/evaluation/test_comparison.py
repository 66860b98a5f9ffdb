"""Differences of losses with their errors: against simulated models, and by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gptmodel.evaluation.comparison import (
    LEAST_PASSAGES,
    PASSAGE_BYTES,
    PASSAGE_SPANS,
    SPAN_BYTES,
    STRETCHES,
    Group,
    compare,
    groups,
    most_different,
    passages,
    student,
)

TOKENS = 16  # of a span, in the simulation: a token is 16 bytes
TRIALS, SPANS, DELTA = 2000, 120, 0.02


def group(*losses: NDArray[np.float64]) -> Group:
    return Group(tuple(f"run {number}" for number in range(len(losses))), np.array(losses))


def spans(per_byte: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses in nats per byte of passages, as nats of spans, with a last one that is short."""
    return np.append(np.repeat(per_byte * SPAN_BYTES, PASSAGE_SPANS), 1.0)


def wandering(random: np.random.Generator, memory: float, length: int = SPANS * TOKENS) -> NDArray[np.float64]:
    """Numbers of variance 1 whose neighbours are alike, (length, trials)."""
    values = random.standard_normal((length, TRIALS))
    for token in range(1, len(values)):
        values[token] = memory * values[token - 1] + math.sqrt(1 - memory**2) * values[token]
    return values


def test_the_interval_covers_the_truth_and_one_by_tokens_does_not() -> None:
    """Two models whose losses go up and down together with the text, and apart for some tokens at a time."""
    random = np.random.default_rng(0)
    difficulty = wandering(random, 0.95)
    first = difficulty + wandering(random, 0.9)
    second = difficulty + wandering(random, 0.9) + DELTA * SPAN_BYTES / TOKENS
    by_span = [losses.reshape(SPANS, TOKENS, TRIALS).sum(axis=1) for losses in (first, second)]
    covered = 0
    for trial in range(TRIALS):
        difference = compare(group(by_span[0][:, trial]), group(by_span[1][:, trial]))
        assert difference.interval is not None
        covered += difference.interval[0] <= DELTA <= difference.interval[1]
    assert 0.93 <= covered / TRIALS <= 0.97

    apart = (second - first) * TOKENS / SPAN_BYTES  # nats per byte of each token
    margin = 1.96 * apart.std(axis=0, ddof=1) / math.sqrt(len(apart))
    by_token = (np.abs(apart.mean(axis=0) - DELTA) <= margin).mean()
    assert by_token < 0.75  # it says 95 %


def test_the_interval_covers_the_truth_where_one_model_is_the_better_one_for_passages_on_end() -> None:
    """As with the plays of Shakespeare, where what differs goes on for a scene: see docs/COMPARING.md."""
    apart = DELTA + wandering(np.random.default_rng(5), 0.5, 200)
    covered = 0
    for trial in range(TRIALS):
        difference = compare(group(spans(np.zeros(200))), group(spans(apart[:, trial])))
        assert difference.interval is not None
        covered += difference.interval[0] <= DELTA <= difference.interval[1]
    assert 0.93 <= covered / TRIALS <= 0.97

    margin = 1.96 * apart.std(axis=0, ddof=1) / math.sqrt(len(apart))
    by_passage = (np.abs(apart.mean(axis=0) - DELTA) <= margin).mean()
    assert by_passage < 0.8  # it says 95 %


def test_words_and_figures_by_hand() -> None:
    random = np.random.default_rng(1)
    loss = random.normal(1.5, 0.5, 100)
    apart = random.normal(0.1, 0.02, 100)
    worse = compare(group(spans(loss)), group(spans(loss + apart)))
    assert (worse.word, worse.passages) == ("worse", 100)
    assert worse.mean == pytest.approx(apart.mean())
    assert worse.text is not None
    stretches = apart.reshape(STRETCHES, -1).mean(axis=1)
    assert worse.text.error == pytest.approx(stretches.std(ddof=1) / math.sqrt(STRETCHES))  # however hard a passage is
    assert worse.text.margin / worse.text.error == pytest.approx(2.2622)
    assert compare(group(spans(loss + apart)), group(spans(loss))).word == "better"
    same = compare(group(spans(loss)), group(spans(loss + apart - apart.mean())))
    assert same.word == "cannot be told"
    assert same.seed is None


def test_too_little_text() -> None:
    loss = np.ones(LEAST_PASSAGES)
    enough = compare(group(spans(loss)), group(spans(loss + 1)))
    little = compare(group(spans(loss)[:-1]), group(spans(loss + 1)[:-1]))
    assert (enough.word, enough.passages) == ("worse", LEAST_PASSAGES)
    assert (little.word, little.passages, little.interval) == ("too little text to say", LEAST_PASSAGES - 1, None)
    nothing = compare(group(np.ones(3)), group(np.ones(3)))
    assert (nothing.word, nothing.passages) == ("too little text to say", 0)


def test_a_last_span_that_is_short_belongs_to_no_passage() -> None:
    losses = np.full(12, 2.0 * SPAN_BYTES)
    losses[-1] = 2.0  # of a single byte
    (per_byte,) = passages(losses[None])
    assert per_byte == pytest.approx([2.0, 2.0])


def test_passages_that_one_was_not_scored_on_count_for_none() -> None:
    first, second = spans(np.ones(30)), spans(np.full(30, 2.0))
    second[5 * PASSAGE_SPANS + 1] = np.nan
    second[-1] = 1e6  # of the last span, which is short
    first, second = np.append(first, 0.0), np.append(second, 9.0)
    assert passages(np.array([first, second])).shape == (2, 29)
    assert compare(group(first), group(second)).passages == 29


def test_seeds_are_a_noise_of_their_own() -> None:
    random = np.random.default_rng(2)
    loss, apart = random.normal(1.5, 0.5, 200), random.normal(0.01, 0.001, 200)
    plain = spans(loss)
    alone = compare(group(plain), group(spans(loss + apart)))
    assert alone.word == "worse"
    shifts = (-0.02, 0.0, 0.02)
    seeds = group(*(spans(loss + apart + shift) for shift in shifts))
    assert seeds.seed_deviation() == pytest.approx(0.02)
    noisy = compare(group(plain), seeds)
    assert noisy.mean == pytest.approx(alone.mean)
    assert noisy.text == alone.text or noisy.text.error == pytest.approx(alone.text.error)  # type: ignore[union-attr]
    assert noisy.seed is not None
    assert noisy.seed.error == pytest.approx(0.02 * math.sqrt(1 + 1 / 3))
    assert noisy.seed.margin == pytest.approx(4.3027 * noisy.seed.error)
    assert noisy.word == "cannot be told"  # the seed alone may have done it
    few = compare(group(plain), group(spans(loss + apart), spans(loss + apart + 0.0001)))
    assert few.seed is not None
    assert few.seed.margin == pytest.approx(12.7062 * 0.0001 * math.sqrt(0.5 * (1 + 1 / 2)))  # two seeds tell little
    assert few.word == "worse"
    both = compare(group(*(plain + shift for shift in (0.0, 1.0))), seeds)
    assert both.seed is not None
    assert both.seed.margin < noisy.seed.margin  # three degrees of freedom


@pytest.mark.parametrize("seeds", [(1, 2), (3, 3)], ids=str)
def test_equal_settings_are_seldom_called_better_or_worse(seeds: tuple[int, int]) -> None:
    """Two settings are equal, and the noise of the seeds is as large as that of the text.

    By the noise of the text alone a word would be said in more than 10 % of cases, and by each noise for itself oftener
    than by both.
    """
    random = np.random.default_rng(4)
    text = 0.01  # standard error
    deviation = text / math.sqrt(sum(1 / count for count in seeds))
    words, by_text, by_each = 0, 0, 0
    for _ in range(TRIALS):
        apart = random.normal(0, text * math.sqrt(LEAST_PASSAGES), LEAST_PASSAGES)
        ours, theirs = (
            group(*(spans(text_of + shift) for shift in random.normal(0, deviation, count)))
            for text_of, count in ((np.zeros(LEAST_PASSAGES), seeds[0]), (apart, seeds[1]))
        )
        difference = compare(ours, theirs)
        assert difference.text is not None
        assert difference.seed is not None
        words += difference.word != "cannot be told"
        by_text += abs(difference.mean) > difference.text.margin
        by_each += abs(difference.mean) > max(difference.text.margin, difference.seed.margin)
    assert words / TRIALS <= 0.05
    assert by_text / TRIALS > 0.1
    assert by_each > words


def test_runs_are_grouped_where_the_seed_alone_differs() -> None:
    losses = np.ones(8)
    runs = [
        ("a", {"train.seed": 1, "model.n_embd": 8}, losses),
        ("b", {"train.seed": 1, "model.n_embd": 16}, losses),
        ("c", {"train.seed": 2, "model.n_embd": 8}, losses),
    ]
    assert [made.names for made in groups(runs)] == [("a", "c"), ("b",)]
    assert [made.name for made in groups(runs)] == ["a (2 seeds)", "b"]
    assert [made.names for made in groups([runs[0], runs[2]])] == [("a",), ("c",)]  # seeds are what is compared
    assert groups(runs)[1].seed_deviation() is None


def test_where_they_differ_most() -> None:
    difference = np.zeros(30)
    difference[[3, 17, 22]] = -0.5, 2.0, np.nan
    chosen = most_different(group(spans(np.ones(30))), group(spans(1 + difference)), 2)
    assert chosen == [17, 3]


def test_students_t() -> None:
    known = {1: 12.706, 5: 2.571, 10: 2.228, 11: 2.201, 19: 2.093, 30: 2.042, 100: 1.984, 487: 1.965}
    for degrees, value in known.items():
        assert student(degrees) == pytest.approx(value, abs=6e-4)


def test_a_passage_is_a_kilobyte() -> None:
    assert PASSAGE_BYTES == 1024
