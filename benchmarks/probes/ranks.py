"""Start `benchmarks.probes.step_by_ranks` in N processes: `python -m benchmarks.probes.ranks N WORDS...`."""

import sys

from benchmarks.probes.step_by_ranks import main
from gptmodel.compute.agent import run_agent

if __name__ == "__main__":
    number, words = int(sys.argv[1]), sys.argv[2:]
    if number == 1:
        main(*words)
    else:
        sys.exit(run_agent(number, 0, 60, [sys.executable, "-m", "benchmarks.probes.step_by_ranks", *words]))
