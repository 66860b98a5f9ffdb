"""Plan the project in this folder as `gptmodel plan` does: `python -m benchmarks.probes.planned [SETTING ...]`.

It prints the seconds of the plan as JSON. Under `benchmarks.probes.processor_time` they are those of the processor.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from gptmodel.params_file import load_params
from gptmodel.planning.measure import measure
from gptmodel.planning.plan import make_plan
from gptmodel.planning.text import find_text
from gptmodel.project.layout import Layout
from stages.plan import MEASURE_SECONDS


def main(settings: Sequence[str]) -> None:
    """Measure, plan and print."""
    params, layout = load_params(Path("params.yaml"), settings), Layout()
    text = find_text(params.fetch, params.prepare, layout.prepared, layout.text)
    by_processor = time.perf_counter is time.process_time
    start = time.process_time() if by_processor else time.time() - psutil.Process().create_time()
    seconds = make_plan(params, text, measure(params, text, MEASURE_SECONDS), start).seconds
    print(json.dumps({**asdict(seconds), "training": seconds.training}))


if __name__ == "__main__":
    main(sys.argv[1:])
