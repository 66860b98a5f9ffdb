"""What the command lines of all benchmarks share.

A benchmark is a module with four parts:
- its docstring: the first line is the title, the rest is the text. `--help` and docs/BENCHMARKS.md show both.
- `options()` returns the parser of its command line.
- `measure(arguments)` returns results that JSON can hold.
- `markdown(results)` returns the results as tables. The command prints them, and docs/BENCHMARKS.md shows them.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures.results import Results, described
from gptmodel.errors import GptModelError


def new_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option that all benchmarks have."""
    parser = argparse.ArgumentParser(
        f"python -m benchmarks.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


def run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Results],
    markdown: Callable[[Results], str],
) -> None:
    """Measure what the command line asks for, write JSON, and print the tables; bad input ends in one line."""
    arguments = parser.parse_args()
    started = time.perf_counter()
    try:
        results = measure(arguments)
    except FileNotFoundError as error:
        parser.error(f"{error.filename}: there is no such file")
    except GptModelError as error:
        parser.error(str(error))
    if arguments.json is not None:
        name = parser.prog.rpartition(".")[2]
        contents = described(name, sys.argv[1:], time.perf_counter() - started, results)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(contents, indent=1) + "\n")
    print(markdown(results))


def progress(line: str) -> None:
    """Say on standard error what is being done."""
    print(line, file=sys.stderr, flush=True)
