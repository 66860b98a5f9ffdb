"""The memory of keys, values and ids: what it holds, what it refuses, and that it can start over."""

import pytest
import torch
from model_helpers import batch, model_params

from gptmodel.sampling.kv_cache import KVCache

PARAMS = model_params()  # block_size 8, 2 layers, 2 heads of size 4


def test_ids_are_kept_one_behind_the_other() -> None:
    cache, idx = KVCache(PARAMS, 3), batch(3, 8)
    assert cache.length == 0
    assert cache.idx.shape == (3, 0)
    assert cache.extend(idx[:, :5]) == 0
    for t in range(5, 8):
        assert cache.extend(idx[:, t : t + 1]) == t
        assert cache.length == t + 1
        assert torch.equal(cache.idx, idx[:, : t + 1])


def test_what_is_set_in_a_blocks_memory_is_seen_by_that_block_alone() -> None:
    cache = KVCache(PARAMS, 3)
    cache.extend(batch(3, 5))
    for number, (new, keys, values) in enumerate(cache.layers(0)):
        assert new.shape == (2, 6, 5, 4)
        assert keys.shape == values.shape == (6, 5, 4)
        new[0], new[1] = 10.0 + number, 20.0 + number
    cache.extend(batch(3, 1))
    for number, (new, keys, values) in enumerate(cache.layers(5)):
        assert new.shape == (2, 6, 1, 4)
        new[0], new[1] = 30.0 + number, 40.0 + number
        assert keys[0, :, 0].tolist() == [10.0 + number] * 5 + [30.0 + number]
        assert values[5, :, 3].tolist() == [20.0 + number] * 5 + [40.0 + number]


def test_more_than_block_size_ids_are_refused_and_change_nothing() -> None:
    cache = KVCache(PARAMS, 2)
    with pytest.raises(ValueError, match="9 tokens do not fit block_size = 8"):
        cache.extend(batch(2, 9))
    assert cache.length == 0
    cache.extend(batch(2, 8))
    with pytest.raises(ValueError, match="9 tokens do not fit block_size = 8"):
        cache.extend(batch(2, 1))
    assert torch.equal(cache.idx, batch(2, 8))


def test_several_ids_behind_others_are_refused() -> None:
    cache = KVCache(PARAMS, 2)
    cache.extend(batch(2, 3))
    with pytest.raises(ValueError, match="2 tokens behind 3"):
        cache.extend(batch(2, 2))
    assert cache.length == 3


def test_after_a_reset_it_is_empty() -> None:
    cache = KVCache(PARAMS, 2)
    cache.extend(batch(2, 8))
    cache.reset()
    assert cache.length == 0
    assert cache.extend(batch(2, 4, seed=1)) == 0
    assert torch.equal(cache.idx, batch(2, 4, seed=1))
    assert cache.layers(0)[0][1].shape == (4, 4, 4)


def test_device_and_precision_are_those_asked_for() -> None:
    cache = KVCache(PARAMS, 1, dtype=torch.float64)
    cache.extend(batch(1, 2))
    assert {part.dtype for part in cache.layers(0)[0]} == {torch.float64}
