"""Run all benchmarks, one after the other, then write docs/BENCHMARKS.md: `python -m benchmarks.all`, half an hour.

The machine should have nothing else to do. Results go to benchmarks/results. `python -m benchmarks.loss` is not among
them: it trains for as long as its presets say, and needs a text.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.document import RESULTS
from benchmarks.report import ROOT, progress

COMMANDS: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "train": ("--rounds", "5"),
    "evaluations": ("--rounds", "5"),
    "sample": ("--rounds", "5"),
    "memory": ("--rounds", "2", "--iterations", "3"),
    "startup": ("--rounds", "3"),
    "scaling": ("--seconds", "3"),
    "plan": (),
    "resume": ("--rounds", "4"),
}


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("names", choices=[[], *COMMANDS], nargs="*", metavar="NAME", help=f"of {', '.join(COMMANDS)}")
    found.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where results go")
    return found


def main() -> None:
    """Run what is asked for; a benchmark that fails does not stop the others."""
    given = parser().parse_args()
    failed = []
    for name in given.names or COMMANDS:
        started = time.perf_counter()
        words = [sys.executable, "-m", f"benchmarks.{name}", *COMMANDS[name]]
        done = subprocess.run([*words, "--json", str(given.out.resolve() / f"{name}.json")], cwd=ROOT, check=False)
        progress(f"{name}: {time.perf_counter() - started:.0f} s, exit status {done.returncode}")
        failed += [name] if done.returncode else []
    if given.out.resolve() == RESULTS:
        subprocess.run([sys.executable, "-m", "benchmarks.document"], cwd=ROOT, check=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
