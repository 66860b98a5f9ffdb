"""Write docs/BENCHMARKS.md and its plots from the results in benchmarks/results.

A section is written for each benchmark that has results: benchmarks/results/NAME.json, or several NAME-*.json.
"""

import argparse
from pathlib import Path

from benchmarks.figures.document import document, draw
from benchmarks.figures.results import read_results
from benchmarks.figures.sections import SECTIONS
from benchmarks.paths import DOCS, RESULTS


def main() -> None:
    """Write the document and draw the plots."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.document", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where the results are")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="DIR", help="where the document goes")
    arguments = parser.parse_args()
    if not any(read_results(section.name, arguments.results) for section in SECTIONS):
        raise SystemExit(f"{arguments.results}: no results; `python -m benchmarks.all` makes them")
    (arguments.out / "BENCHMARKS.md").write_text(document(arguments.results), encoding="utf-8")
    draw(arguments.results, arguments.out)


if __name__ == "__main__":
    main()
