import itertools

import numpy as np
import pytest
import torch

from gptmodel.data.batches import evaluation_batches, evaluation_starts, get_batch, training_batch
from gptmodel.errors import DataError

DTYPES = [np.uint8, np.uint16, np.uint32, np.int64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_get_batch_as_in_the_tutorial(dtype: type) -> None:
    data = np.array([10, 11, 12, 13, 14, 15], dtype=dtype)
    x, y = get_batch(data, 1, 3)
    assert x.tolist() == [11, 12, 13]
    assert y.tolist() == [12, 13, 14]
    assert x.dtype == y.dtype == torch.int64


@pytest.mark.parametrize(
    ("idx", "bptt", "xs", "ys"),
    [
        (0, 5, [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]),
        (0, 99, [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]),
        (3, 4, [3, 4], [4, 5]),
        (4, 1, [4], [5]),
    ],
)
def test_get_batch_is_shorter_where_the_data_ends(idx: int, bptt: int, xs: list[int], ys: list[int]) -> None:
    x, y = get_batch(np.arange(6, dtype=np.uint8), idx, bptt)
    assert (x.tolist(), y.tolist()) == (xs, ys)


@pytest.mark.parametrize("idx", [5, 6, 100, -1])
def test_get_batch_needs_a_target(idx: int) -> None:
    with pytest.raises(DataError, match="no sequence"):
        get_batch(np.arange(6, dtype=np.uint8), idx, 3)


def test_the_data_is_not_shared_with_the_batch() -> None:
    data = np.arange(6, dtype=np.int64)
    x, _ = get_batch(data, 0, 3)
    x[0] = 99
    assert data[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_batch_is_made_of_get_batch(dtype: type) -> None:
    data = np.arange(200).astype(dtype)  # an id is its own position
    idx, targets = training_batch(data, 1337, 5, 16, 32)
    assert idx.shape == targets.shape == (16, 32)
    assert idx.is_contiguous()
    assert targets.is_contiguous()
    for row, target in zip(idx, targets, strict=True):
        x, y = get_batch(data, int(row[0]), 32)
        assert torch.equal(row, x)
        assert torch.equal(target, y)


def test_a_training_batch_is_a_function_of_seed_and_iteration_alone() -> None:
    data = np.random.default_rng(0).integers(0, 250, 5000).astype(np.uint8)
    later_first = {t: training_batch(data, 7, t, 4, 8)[0] for t in reversed(range(20))}
    np.random.seed(3)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for t in range(20):
        assert torch.equal(training_batch(data, 7, t, 4, 8)[0], later_first[t])
    assert torch.equal(torch.get_rng_state(), before)
    batches = [training_batch(data, seed, t, 4, 8)[0] for seed in (7, 8) for t in range(20)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(batches, 2))


def test_the_batches_of_this_program_never_change() -> None:
    """Edit these numbers only with a note in the changelog: every trained model changes with them."""
    idx, _ = training_batch(np.arange(1000, dtype=np.uint16), 1337, 0, 4, 8)
    assert idx[:, 0].tolist() == [712, 912, 956, 976]
    idx, _ = training_batch(np.arange(1000, dtype=np.uint16), 1337, 4999, 4, 8)
    assert idx[:, 0].tolist() == [471, 431, 777, 686]


def test_every_valid_start_is_drawn_equally_often() -> None:
    data = np.arange(20, dtype=np.uint8)
    starts = torch.cat([training_batch(data, 1, t, 1000, 4)[0][:, 0] for t in range(20)])
    counts = torch.bincount(starts, minlength=16)
    assert len(counts) == 16  # 0 ... 15: the last sequence has token 19 as its last target
    assert counts.min() > 1250 - 5 * 35
    assert counts.max() < 1250 + 5 * 35  # 35 is the standard deviation


def test_the_shortest_data_that_gives_a_training_batch() -> None:
    idx, targets = training_batch(np.arange(5, dtype=np.uint8), 0, 0, 2, 4)
    assert idx.tolist() == [[0, 1, 2, 3]] * 2
    assert targets.tolist() == [[1, 2, 3, 4]] * 2
    with pytest.raises(DataError, match="block_size"):
        training_batch(np.arange(4, dtype=np.uint8), 0, 0, 2, 4)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
@pytest.mark.parametrize("block_size", [1, 2, 5, 8])
def test_an_evaluation_has_each_token_as_a_target_once(batch_size: int, block_size: int) -> None:
    for n in (*range(2, 40), 129):
        data = np.arange(1000, 1000 + n, dtype=np.uint16)
        inputs, targets = [], []
        for x, y in evaluation_batches(data, batch_size, block_size):
            assert x.shape == y.shape
            assert x.shape[0] <= batch_size
            assert x.shape[1] == block_size or (x.shape[0] == 1 and x.shape[1] < block_size)
            inputs += x.flatten().tolist()
            targets += y.flatten().tolist()
        assert inputs == data[:-1].tolist()
        assert targets == data[1:].tolist()


@pytest.mark.parametrize(
    ("n", "block_size", "max_blocks"), [(1001, 10, 7), (1009, 10, 1), (1001, 10, 99), (500, 3, 50)]
)
def test_a_bounded_evaluation_is_spread_over_the_split(n: int, block_size: int, max_blocks: int) -> None:
    data = np.arange(n, dtype=np.uint16)
    batches = list(evaluation_batches(data, 4, block_size, max_blocks))
    again = list(evaluation_batches(data, 4, block_size, max_blocks))
    assert all(
        torch.equal(a, b) for one, other in zip(batches, again, strict=True) for a, b in zip(one, other, strict=True)
    )
    rows = torch.cat([x for x, _ in batches])
    assert rows.shape == (max_blocks, block_size)
    assert torch.equal(torch.cat([y for _, y in batches]), rows + 1)
    blocks = rows[:, 0] // block_size
    assert torch.equal(blocks * block_size, rows[:, 0])
    full = (n - 1) // block_size
    gaps = torch.diff(torch.cat([blocks, blocks[:1] + full]))  # around the end too: nowhere more than elsewhere
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1
    assert abs(float(blocks.double().mean()) - (full - 1) / 2) <= 1


def test_a_bound_above_the_split_gives_the_whole_split() -> None:
    data = np.arange(1003, dtype=np.uint16)
    for max_blocks in (100, 101, 10_000):
        targets = [y.flatten() for _, y in evaluation_batches(data, 4, 10, max_blocks)]
        assert torch.cat(targets).tolist() == data[1:].tolist()


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_evaluate_is_an_error(n: int) -> None:
    with pytest.raises(DataError, match="at least 2"):
        list(evaluation_batches(np.arange(n, dtype=np.uint8), 1, 1))


@pytest.mark.parametrize("run", [1, 2, 3, 5])
@pytest.mark.parametrize("max_blocks", [5, 12, 39, 40, 1000])
def test_blocks_in_runs_follow_one_another_and_are_spread_evenly(run: int, max_blocks: int) -> None:
    parts = list(evaluation_starts(40 * 8 + 4, 3, 8, max_blocks, run))
    starts = np.concatenate([of_one for of_one, length in parts if length == 8])
    if max_blocks >= 40:
        assert starts.tolist() == [8 * block for block in range(40)]
        assert parts[-1][1] == 3
        return
    assert len(starts) == max_blocks - max_blocks % run
    runs = starts.reshape(-1, run) // 8
    assert (np.diff(runs, axis=1) == 1).all()
    first = runs[:, 0]
    assert len(set(first.tolist())) == len(first)
    steps = np.diff(first)
    assert steps.max(initial=0) - steps.min(initial=1000) <= run
    assert starts.max() < 40 * 8
