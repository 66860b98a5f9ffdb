"""The memory a training needs is told before it starts."""

import pytest

from gptmodel.config import Params
from gptmodel.errors import TrainingError
from gptmodel.training.memory import BASE_BYTES, check_memory, estimate_bytes, shown


def estimate(params: Params, vocab_size: int = 65, **changes: int) -> int:
    model = params.model.model_copy(update={k: v for k, v in changes.items() if k in type(params.model).model_fields})
    train = params.train.model_copy(update={k: v for k, v in changes.items() if k in type(params.train).model_fields})
    return estimate_bytes(model, train, vocab_size)


def test_the_default_needs_little(params: Params) -> None:
    assert BASE_BYTES < estimate(params) < BASE_BYTES + (60 << 20)


@pytest.mark.parametrize("changes", [{"n_embd": 256}, {"n_layer": 40}, {"block_size": 512}, {"batch_size": 512}])
def test_it_grows_with_each_size(params: Params, changes: dict[str, int]) -> None:
    assert estimate(params, **changes) > estimate(params) + (10 << 20)


def test_weights_gradients_and_two_averages_count_four_times(params: Params) -> None:
    wide = estimate(params, n_embd=4096, n_layer=2)
    weights = 4 * 2 * 12 * 4096**2
    assert 4 * weights < wide < 4 * weights * 1.35


def test_what_cannot_fit_is_refused_before_it_is_allocated(params: Params) -> None:
    check_memory(1 << 20)
    with pytest.raises(TrainingError, match=r"about \d+\.\d GB of memory, and this machine has .* lower train"):
        check_memory(estimate(params, n_embd=65536, n_layer=96))


def test_sizes_are_shown_in_words() -> None:
    assert shown(386_000_000) == "386 MB"
    assert shown(1_250_000_000) == "1.2 GB"
