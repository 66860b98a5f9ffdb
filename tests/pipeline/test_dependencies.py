"""dvc.yaml lists for each stage every file that it imports, so that a change of code reruns what it can change."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# What only watches a run, or says something about it, cannot change its result: train again for none of these.
WATCHING = {
    "gptmodel/ignored_settings.py",
    "gptmodel/project/git.py",
    "gptmodel/project/inputs.py",
    "gptmodel/units.py",
    "gptmodel/wrong_settings.py",
    "stages/naming.py",
    "stages/tracked.py",
    "stages/download_progress.py",
    "stages/progress.py",
    "gptmodel/tracking",
}


def imported_files(path: Path) -> set[Path]:
    """Return the project's files that a file imports anywhere, in functions too, but not for type checking only."""
    files = set()
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = ROOT / (name.replace(".", "/") + ".py")
            if file.is_file():
                files.add(file)
    return files


def _executed(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _executed(node)


def closure(start: Path) -> set[str]:
    """Return all files a stage can come to import, but for those that only watch."""
    todo, names = [start], set()
    while todo:
        file = todo.pop()
        name = file.relative_to(ROOT).as_posix()
        if name in names or any(name == watching or name.startswith(f"{watching}/") for watching in WATCHING):
            continue
        names.add(name)
        todo += imported_files(file)
    return names


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_the_import_closure(stage: str) -> None:
    deps = set(STAGES[stage]["deps"])
    missing = {name for name in closure(ROOT / f"stages/{stage}.py") if not _covered(name, deps)}
    assert not missing, f"add to the deps of {stage} in dvc.yaml: {sorted(missing)}"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_nothing_a_stage_does_not_import(stage: str) -> None:
    imported = closure(ROOT / f"stages/{stage}.py")
    code = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("stages/", "gptmodel/"))}
    idle = {dep for dep in code if not any(_covered(name, {dep}) for name in imported)}
    assert not idle, f"{stage} reruns for nothing when these change: {sorted(idle)}"


def _covered(name: str, deps: set[str]) -> bool:
    return any(name == dep or name.startswith(f"{dep}/") for dep in deps)


def test_the_closure_follows_imports_inside_functions() -> None:
    assert "gptmodel/nn/fused.py" in closure(ROOT / "stages/train.py")
    assert "gptmodel/evaluation/plots.py" not in closure(ROOT / "stages/train.py")
