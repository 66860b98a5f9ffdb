"""The programs that run in a process of their own."""

from pathlib import Path

import pytest
from benchmark_examples import TINY
from model_helpers import ROOT

from benchmarks.probes import breakdown
from benchmarks.probes.start import run_python


def test_a_failure_ends_the_benchmark_with_what_the_process_said(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('this is why')")
    with pytest.raises(SystemExit, match=r"(?s)^-m broken: .*this is why"):
        run_python(tmp_path, "-m", "broken")


def test_processor_time_stands_still_while_a_program_waits(tmp_path: Path) -> None:
    code = (
        "import os, sys, time",
        "started = time.perf_counter()",
        "time.sleep(0.5)",
        "waited = time.perf_counter() - started > 0.4",
        "print(__name__, sys.argv[1:], waited, len(os.sched_getaffinity(0)))",
    )
    (tmp_path / "waiting.py").write_text("\n".join(code))
    words = ("-m", "benchmarks.probes.processor_time", "waiting", "-S", "train.lr=1")
    assert run_python(tmp_path, *words, PYTHONPATH=str(ROOT)) == "__main__ ['-S', 'train.lr=1'] False 1\n"


def test_breakdown_accounts_for_all_of_the_time() -> None:
    shares = breakdown.breakdown(TINY, 2)
    assert shares.pop("times as long when profiled") > 0
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in shares.values())


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::baddbmm", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::_fused_adamw_", "optimizer"),
        ("Optimizer.step#AdamW.step", "optimizer"),
        ("aten::threshold_backward", breakdown.OTHERS),
        ("aten::native_layer_norm", breakdown.OTHERS),
        ("aten::t", breakdown.REST),
        ("autograd::engine::evaluate_function: MmBackward0", breakdown.REST),
    ],
)
def test_operators_are_grouped(name: str, group: str) -> None:
    assert breakdown.group(name) == group
