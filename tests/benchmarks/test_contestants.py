"""What is compared: the loops that train without other libraries, and the operations that all are held to."""

import pytest
from benchmark_examples import TINY

from benchmarks.contestants.loops import CONTESTANTS
from benchmarks.contestants.models import our_params
from benchmarks.contestants.peak import iteration_operations
from benchmarks.contestants.peers import PEERS

HERE = [name for name in CONTESTANTS if name not in PEERS and "compiled" not in name]


@pytest.mark.parametrize("name", HERE)
def test_a_contestant_trains(name: str) -> None:
    train = CONTESTANTS[name](TINY, 1)
    train(1)
    train(2)


def test_ours_computes_with_the_sizes_and_settings_of_the_peers() -> None:
    params = our_params(TINY, threads=1, dtype="bfloat16", compile=True)
    assert (params.model.n_layer, params.model.block_size, params.train.batch_size) == (1, 8, 2)
    assert (params.train.optimizer, params.model.position) == ("adamw", "learned")
    assert (params.train.threads, params.train.dtype, params.train.compile) == (1, "bfloat16", True)


def test_operations_are_those_of_the_products() -> None:
    """Against a count of each product of the reference: rows x columns x inner, twice, and twice more backward."""
    C, T, B = TINY.n_embd, TINY.block_size, TINY.batch_size
    block = B * T * (3 * C * C + C * C + 4 * C * C + 4 * C * C) + 2 * B * T * T * C
    assert iteration_operations(TINY) == 3 * 2 * (TINY.n_layer * block + B * T * C * 65)
