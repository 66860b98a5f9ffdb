"""Run a module on one core, with seconds of the processor in place of the clock's.

`python -m benchmarks.probes.processor_time MODULE [ARGUMENT ...]` is `python -m MODULE [ARGUMENT ...]` with a clock
that stands still while the machine does other work.
"""

import os
import runpy
import sys
import time


def main(module: str, *arguments: str) -> None:
    """Run the module as the program that it is."""
    time.perf_counter = time.process_time
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # evaluations beside the iterations would count too
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
