"""Run all benchmarks with their defaults, one after the other, then write docs/BENCHMARKS.md. It takes half an hour.

The machine should have nothing else to do. Results go to benchmarks/results. `python -m benchmarks.loss`,
`python -m benchmarks.ablation`, `python -m benchmarks.tokenizers`, `python -m benchmarks.past_block` and
`python -m benchmarks.gpu` are not run: they need a text, a long time or a GPU.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.command import progress
from benchmarks.figures.sections import SECTIONS
from benchmarks.paths import RESULTS, ROOT

APART = {"loss", "ablation", "tokenizers", "past_block", "gpu"}
NAMES = [section.name for section in SECTIONS if section.name not in APART]


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", choices=[[], *NAMES], nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where results go")
    return parser


def main() -> None:
    """Run the named benchmarks; one that fails does not stop the others."""
    arguments = options().parse_args()
    out, failed = arguments.out.resolve(), []
    for name in arguments.names or NAMES:
        started = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(out / f"{name}.json")]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        progress(f"{name}: {time.perf_counter() - started:.0f} s, exit status {status}")
        failed += [name] if status else []
    if out == RESULTS:
        subprocess.run([sys.executable, "-m", "benchmarks.document"], cwd=ROOT, check=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
