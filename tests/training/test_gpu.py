"""What has to be right on a GPU: the checks of `python -m benchmarks.gpu`, a test each."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.gpus.checks import every_check

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
CHECKS = dict(every_check("cuda"))


@pytest.mark.gpu
@needs_a_gpu
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_on_a_gpu(check: Callable[[], tuple[str, bool]]) -> None:
    figure, good = check()
    assert good, figure
