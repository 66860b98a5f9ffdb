"""The text of docs/BENCHMARKS.md, and its plots, from a folder of results."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.contestants.peers import PEERS
from benchmarks.figures import plots
from benchmarks.figures.results import Results, read_results
from benchmarks.figures.sections import HEAD, SECTIONS, Section


def document(folder: Path) -> str:
    """Return the whole text."""
    files = {section: read_results(section.name, folder) for section in SECTIONS}
    places = [contents["machine"] for measured in files.values() for contents in measured]
    machines = unique(map(machine_in_words, places))
    lines = [f"Machine {number}: {line}." for number, line in enumerate(machines, 1)]
    if len(machines) == 1:
        lines = [f"Machine: {machines[0]}."]
    sections = [section_text(section, measured, machines) for section, measured in files.items() if measured]
    return "\n\n".join([HEAD.strip(), *lines, *peers_in_words(places), *sections]) + "\n"


def section_text(section: Section, files: Sequence[Results], machines: Sequence[str]) -> str:
    """Return a section: its plot, and each table after what was measured for it, how and on which machine."""
    plot = [f"![{section.title}]({section.plot})"] if section.plot else []
    groups = [files] if section.merge else [[contents] for contents in files]
    tables = [
        part
        for group, results in zip(groups, shown(section, files), strict=True)
        for part in (measured_by(group, machines), section.module.markdown(results))
    ]
    return "\n\n".join([f"## {section.title}", section.text, *plot, *tables])


def measured_by(files: Sequence[Results], machines: Sequence[str]) -> str:
    """Say how, when, for how long and where each file was measured."""
    lines = [f"`{contents['command']}`, {contents['date']}, {contents['seconds']:.0f} s" for contents in files]
    if len(machines) > 1:
        numbers = [machines.index(machine_in_words(contents["machine"])) + 1 for contents in files]
        lines = [f"{line}, machine {number}" for line, number in zip(lines, numbers, strict=True)]
    return "Measured by " + "; ".join(lines) + "."


def machine_in_words(machine: Results) -> str:
    """Say on what was measured."""
    others = ("cpu", "cores", "system", *PEERS.values())
    versions = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in others)
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['system']}, {versions}"


def peers_in_words(machines: Iterable[Results]) -> list[str]:
    """Say which peers were compared with, if any were."""
    versions = unique(f"{peer} {one[peer]}" for one in machines for peer in PEERS.values() if peer in one)
    return [f"Peers: {', '.join(versions)}."] if versions else []


def unique(lines: Iterable[str]) -> list[str]:
    """Return each line once, in order."""
    return list(dict.fromkeys(lines))


def shown(section: Section, files: Sequence[Results]) -> list[Results]:
    """Return the results to be shown: file by file, or put together."""
    results = [contents["results"] for contents in files]
    return [section.merge(results)] if section.merge else results


def draw(folder: Path, docs: Path) -> None:
    """Draw the plots of all results that have one."""
    for section in SECTIONS:
        if section.draw is not None and (files := read_results(section.name, folder)):
            plots.save(section.draw, shown(section, files)[0], docs / section.plot)
