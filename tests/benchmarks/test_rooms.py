"""benchmarks/: the commands on top, which the rooms below do not know; programs are files, and each has its place."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_helpers import ROOT

from benchmarks.figures.sections import SECTIONS

FOLDER = ROOT / "benchmarks"
FILES = sorted(FOLDER.rglob("*.py"))
SHARED = {"command", "paths", "texts"}
"""Files on top that are no commands, but what they share."""
COMMANDS = {path.stem for path in FOLDER.glob("*.py")} - SHARED - {"__init__"}
files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_each_benchmark_has_a_section_and_each_section_a_benchmark() -> None:
    benchmarks = {name for name in COMMANDS if hasattr(importlib.import_module(f"benchmarks.{name}"), "measure")}
    assert benchmarks == {section.name for section in SECTIONS}


def test_on_top_are_commands() -> None:
    for name in COMMANDS:
        assert 'if __name__ == "__main__":' in (FOLDER / f"{name}.py").read_text(encoding="utf-8"), name


@files
def test_nothing_imports_a_command(path: Path) -> None:
    commands = {f"benchmarks.{name}" for name in COMMANDS}
    for imported in imports(path):
        assert not {imported, imported.rpartition(".")[0]} & commands, imported


@files
def test_a_program_is_a_file(path: Path) -> None:
    """What runs in a process of its own is a file that ruff and mypy read, not a string for `python -c`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and node.value == "-c"), f"line {node.lineno}"
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        assert called not in ("eval", "exec", "compile"), f"calls {called}"


def test_the_prose_of_a_benchmark_is_its_docstring() -> None:
    for section in SECTIONS:
        assert 0 < len(section.title.splitlines()[0]) < 40, section.name
        assert section.title.count("\n") == 0, section.name
        assert section.text, section.name
