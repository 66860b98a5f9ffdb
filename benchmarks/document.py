"""Write docs/BENCHMARKS.md and its plots from the results in benchmarks/results: `python -m benchmarks.document`.

A section is written for each benchmark that has results: benchmarks/results/NAME.json, or several NAME-*.json.
"""

import argparse
import importlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import plots
from benchmarks.loss import together
from benchmarks.report import PEERS, ROOT, Results
from benchmarks.sections import HEAD, SECTIONS, Section

RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"


def results_of(name: str, folder: Path) -> list[Results]:
    """Return what the files of a benchmark hold."""
    files = sorted([*folder.glob(f"{name}.json"), *folder.glob(f"{name}-*.json")])
    return [json.loads(file.read_bytes()) for file in files]


def machine(found: Results) -> str:
    """Say on what was measured."""
    others = ("cpu", "cores", "system", *PEERS)
    versions = ", ".join(f"{key} {value}" for key, value in found.items() if key not in others)
    return f"{found['cores']} cores of {found['cpu']}, {found['system']}, {versions}"


def peers(found: Iterable[Results]) -> list[str]:
    """Say which peers were there; some benchmarks have none, and run without them."""
    versions = unique(f"{peer} {one[peer]}" for one in found for peer in PEERS if peer in one)
    return [f"Peers: {', '.join(versions)}."] if versions else []


def measured(found: Sequence[Results], machines: Sequence[str]) -> str:
    """Say how, when, for how long and where each file was measured."""
    lines = [f"`{one['command']}`, {one['date']}, {one['seconds']:.0f} s" for one in found]
    if len(machines) > 1:
        places = [machines.index(machine(one["machine"])) + 1 for one in found]
        lines = [f"{line}, machine {place}" for line, place in zip(lines, places, strict=True)]
    return "Measured by " + "; ".join(lines) + "."


def shown(name: str, found: Sequence[Results]) -> list[Results]:
    """Return the results to be shown: those of trainings together, others file by file."""
    results = [one["results"] for one in found]
    return [together(results)] if name == "loss" else results


def section(chosen: Section, found: Sequence[Results], machines: Sequence[str]) -> str:
    """Return a section."""
    markdown = importlib.import_module(f"benchmarks.{chosen.name}").markdown
    plot = [f"![{chosen.title}]({chosen.plot})"] if chosen.plot else []
    tables = [markdown(results) for results in shown(chosen.name, found)]
    return "\n\n".join([f"## {chosen.title}", chosen.text, measured(found, machines), *plot, *tables])


def document(folder: Path) -> str:
    """Return the whole text."""
    everything = {chosen: results_of(chosen.name, folder) for chosen in SECTIONS}
    places = [one["machine"] for found in everything.values() for one in found]
    machines = unique(map(machine, places))
    where = [f"Machine {number}: {line}." for number, line in enumerate(machines, 1)]
    if len(machines) == 1:
        where = [f"Machine: {machines[0]}."]
    sections = [section(chosen, found, machines) for chosen, found in everything.items() if found]
    return "\n\n".join([HEAD.strip(), *where, *peers(places), *sections]) + "\n"


def unique(lines: Iterable[str]) -> list[str]:
    """Return each line once, in order."""
    return list(dict.fromkeys(lines))


def draw(folder: Path, docs: Path) -> None:
    """Draw the plots of all results that have one."""
    for chosen in SECTIONS:
        if chosen.draw is not None and (found := results_of(chosen.name, folder)):
            plots.save(chosen.draw, shown(chosen.name, found)[0], docs / chosen.plot)


def main() -> None:
    """Write the document and draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="DIR")
    given = parser.parse_args()
    if not any(results_of(chosen.name, given.results) for chosen in SECTIONS):
        raise SystemExit(f"{given.results}: no results; `python -m benchmarks.all` makes them")
    (given.out / "BENCHMARKS.md").write_text(document(given.results), encoding="utf-8")
    draw(given.results, given.out)


if __name__ == "__main__":
    main()
