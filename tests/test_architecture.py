"""The house: which floor may import from which, what `import gptmodel` costs, and how long things may be.

See CONTRIBUTING.md for the floors. A cap that is in the way is a sign that something wants to be two things.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar

import pytest
from model_helpers import ROOT

T = TypeVar("T")
FLOORS = {  # the longest prefix counts; a module imports from its own floor and those below
    "gptmodel.address": 0,
    "gptmodel.errors": 0,
    "gptmodel.files": 0,
    "gptmodel.port": 0,
    "gptmodel.units": 0,
    "gptmodel.wheel": 0,
    "gptmodel.config": 1,
    "gptmodel.fetch_params": 1,
    "gptmodel.prepare_params": 1,
    "gptmodel.runtime_params": 1,
    "gptmodel.params_file": 1,
    "gptmodel.ignored_settings": 1,
    "gptmodel.presets": 1,
    "gptmodel.section": 1,
    "gptmodel.wrong_settings": 1,
    "gptmodel.compute": 1,
    "gptmodel.project": 1,
    "gptmodel.tokenizers": 1,
    "gptmodel.tracking": 1,
    "gptmodel.data": 2,
    "gptmodel.nn": 2,
    "gptmodel.optim": 2,
    "gptmodel.kneser_ney": 2,
    "gptmodel.checkpoint": 3,
    "gptmodel.language_model": 3,
    "gptmodel.scoring": 3,
    "gptmodel.evaluation": 3,
    "gptmodel.sampling": 3,
    "gptmodel.reporting": 4,
    "gptmodel.export": 4,
    "gptmodel.pretrained": 4,
    "gptmodel.training": 4,
    "gptmodel.tuning": 4,
    "gptmodel.proof": 4,
    "gptmodel.serving": 4,
    "gptmodel.served_model": 4,
    "gptmodel.text_model": 4,
    "gptmodel.planning": 5,
    "gptmodel.doctor": 5,
    "stages": 6,
}
OUTSIDE = {  # libraries beside the standard one; the longest prefix counts here too
    "gptmodel.address": set(),
    "gptmodel.errors": set(),
    "gptmodel.files": set(),
    "gptmodel.port": set(),
    "gptmodel.units": set(),
    "gptmodel.wheel": set(),
    "gptmodel.config": {"pydantic"},
    "gptmodel.fetch_params": {"pydantic"},
    "gptmodel.prepare_params": {"pydantic"},
    "gptmodel.runtime_params": {"pydantic"},
    "gptmodel.params_file": {"pydantic"},
    "gptmodel.section": {"pydantic"},
    "gptmodel.wrong_settings": {"pydantic", "pydantic_core"},
    "gptmodel.compute": {"numpy", "torch"},
    "gptmodel.compute.crew": set(),
    "gptmodel.compute.tree": set(),
    "gptmodel.compute.limits": set(),
    "gptmodel.project": set(),
    "gptmodel.project.dvc_config": {"platformdirs"},
    "gptmodel.project.dvc_yaml": {"ruamel"},
    "gptmodel.tracking": {"filelock"},
    "gptmodel.tracking.mlflow_store": {"mlflow", "filelock"},
    "gptmodel.tracking.registry": {"mlflow"},
    "gptmodel.tracking.ui_server": {"psutil"},
    "gptmodel.tokenizers": {"numpy"},
    "gptmodel.tokenizers.bpe": {"numpy", "rustbpe", "tiktoken"},
    "gptmodel.data": {"numpy", "torch"},
    "gptmodel.data.documents": set(),
    "gptmodel.data.download": {"aiohttp", "fsspec"},
    "gptmodel.data.encoding": {"charset_normalizer"},
    "gptmodel.data.input_text": set(),
    "gptmodel.data.local_files": set(),
    "gptmodel.data.manifest": set(),
    "gptmodel.data.shakespeare": set(),
    "gptmodel.data.sources": set(),
    "gptmodel.data.suffixes": {"numpy", "pydivsufsort"},
    "gptmodel.data.unpack": {"backports", "compression"},
    "gptmodel.nn": {"torch"},
    "gptmodel.optim": {"torch"},
    "gptmodel.kneser_ney": {"torch"},
    "gptmodel.checkpoint": {"torch", "pydantic"},
    "gptmodel.language_model": {"torch"},
    "gptmodel.sampling": {"torch"},
    "gptmodel.scoring": {"torch"},
    "gptmodel.serving": {"torch", "pydantic", "starlette"},
    "gptmodel.serving.copied": {"numpy"},
    "gptmodel.serving.server": {"uvicorn"},
    "gptmodel.text_model": {"pydantic"},
    "gptmodel.export": {"torch"},
    "gptmodel.export.huggingface": {"torch", "transformers", "safetensors"},
    "gptmodel.export.safetensors_file": {"torch", "safetensors"},
    "gptmodel.export.onnx_file": {"torch", "onnxruntime"},
    "gptmodel.export.gguf_file": {"torch", "gguf"},
    "gptmodel.export.llama_cpp": {"xllamacpp"},
    "gptmodel.pretrained": {"torch"},
    "gptmodel.evaluation": {"numpy", "torch"},
    "gptmodel.evaluation.plots": {"numpy", "matplotlib"},
    "gptmodel.reporting": {"numpy"},
    "gptmodel.reporting.page": {"jinja2"},
    "gptmodel.training": {"numpy", "torch", "filelock"},
    "gptmodel.tuning": {"pydantic"},
    "gptmodel.tuning.sampler": {"optuna"},
    "gptmodel.tuning.storage": {"filelock", "optuna", "sqlalchemy"},
    "gptmodel.tuning.study": {"optuna"},
    "gptmodel.tuning.trial": {"optuna"},
    "gptmodel.tuning.worker": {"filelock"},
    "gptmodel.planning": {"numpy", "torch"},
    "gptmodel.proof": set(),
    "gptmodel.doctor": {"dvc", "filelock", "packaging", "psutil"},
    "stages": {"typer", "rich", "psutil"},
}
GROUND = ("gptmodel.address", "gptmodel.errors", "gptmodel.files", "gptmodel.port", "gptmodel.units", "gptmodel.wheel")
ONLY = {  # rooms that know less than their floor would let them
    "gptmodel.nn": {"gptmodel.nn", "gptmodel.config", "gptmodel.compute"},
    "gptmodel.optim": {"gptmodel.optim", "gptmodel.config", "gptmodel.compute"},
    "gptmodel.compute": {"gptmodel.compute", "gptmodel.config", "gptmodel.errors", "gptmodel.files"},
    "gptmodel.project": {"gptmodel.project", "gptmodel.errors", "gptmodel.files"},
    "gptmodel.tracking": {
        "gptmodel.tracking",
        "gptmodel.compute.limits",
        "gptmodel.address",
        "gptmodel.errors",
        "gptmodel.files",
        "gptmodel.port",
        "gptmodel.units",
    },
    "gptmodel.tokenizers": {"gptmodel.tokenizers", "gptmodel.errors", "gptmodel.files", "gptmodel.wheel"},
    "gptmodel.proof": {
        "gptmodel.proof",
        "gptmodel.checkpoint",
        "gptmodel.compute",
        "gptmodel.project",
        "gptmodel.errors",
    },
    "gptmodel.tuning": {
        "gptmodel.tuning",
        "gptmodel.config",
        "gptmodel.params_file",
        "gptmodel.section",
        "gptmodel.wrong_settings",
        "gptmodel.compute",
        "gptmodel.address",
        "gptmodel.errors",
        "gptmodel.units",
    },
    "gptmodel.doctor": {
        "gptmodel.doctor",
        "gptmodel.params_file",
        "gptmodel.project",
        "gptmodel.tracking",
        "gptmodel.errors",
        "gptmodel.files",
        "gptmodel.units",
    },
}
LONG_COMMANDS = {"stages.command", "stages.options", "stages.progress", "stages.streams", "stages.tracked"}
"""What the command lines share: at most 140 lines, and every other file of stages/ 80."""
HEAVY = ("mlflow", "matplotlib", "typer", "dvc", "rich", "fsspec")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path for folder in ("gptmodel", "stages") for path in sorted((ROOT / folder).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
LIBRARY = [name for name in SOURCES if name.startswith("gptmodel")]
modules = pytest.mark.parametrize("name", SOURCES)


def longest(table: dict[str, T], name: str) -> T | None:
    """The entry of the longest prefix of a dotted name."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((table[prefix] for prefix in prefixes if prefix in table), None)


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Each module that a module imports, inside functions too, with the line."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in SOURCES else node.module), node.lineno


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_the_tests_see_the_code() -> None:
    assert len(SOURCES) > 40
    assert "gptmodel.errors" in {module for module, _ in imports("gptmodel.compute.place")}
    inside = {module for module, _ in imports("stages.train")}
    assert "gptmodel.training.run" in inside  # which it imports in a function


@modules
def test_a_floor_imports_from_below_or_its_own(name: str) -> None:
    if name == "gptmodel":
        return
    floor = longest(FLOORS, name)
    assert floor is not None or SOURCES[name].name == "__init__.py", f"{name}: has no floor in this test"
    for imported, line in imports(name):
        if imported == "gptmodel" or imported not in SOURCES:
            continue
        other = longest(FLOORS, imported)
        assert other is not None
        assert floor is not None
        assert other <= floor, f"{name}:{line}: floor {floor} imports {imported} of floor {other}"
        rooms = longest(ONLY, name)
        assert rooms is None or within(imported, rooms), f"{name}:{line}: has to do without {imported}"


def test_there_is_no_circle_of_imports() -> None:
    """Not even one that goes through a function, or that is there for the type checker only."""
    graph = {name: {module for module, _ in imports(name) if module in SOURCES} for name in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@modules
def test_a_module_uses_the_libraries_of_its_room_only(name: str) -> None:
    allowed = longest(OUTSIDE, name) or set()
    for imported, line in imports(name):
        top = imported.split(".")[0]
        if top in ("gptmodel", "stages") or top in sys.stdlib_module_names:
            continue
        assert top in allowed, f"{name}:{line}: imports {top}"


def test_the_tables_name_nothing_that_is_gone() -> None:
    """Each prefix has a module, and each library is imported by one of those that may."""
    for table in (FLOORS, OUTSIDE, ONLY):
        gone = {prefix for prefix in table if not any(within(name, {prefix}) for name in SOURCES)}
        assert not gone
    used = {prefix: set[str]() for prefix in OUTSIDE}
    for name in SOURCES:
        prefix = longest({prefix: prefix for prefix in OUTSIDE}, name)
        if prefix is not None:
            used[prefix] |= {imported.split(".")[0] for imported, _ in imports(name)}
    never = {prefix: OUTSIDE[prefix] - used[prefix] for prefix in OUTSIDE if OUTSIDE[prefix] - used[prefix]}
    assert not never, f"libraries that nobody there imports: {never}"


@modules
def test_nothing_imports_the_benchmarks(name: str) -> None:
    for imported, line in imports(name):
        assert not within(imported, {"benchmarks", "tests"}), f"{name}:{line}"


def test_training_is_handed_its_tracker_and_nothing_imports_the_stages() -> None:
    for name in LIBRARY:
        for imported, line in imports(name):
            assert not within(imported, {"stages"}), f"{name}:{line}"
            if not name.startswith(("gptmodel.tracking", "gptmodel.doctor", "gptmodel.text_model")):
                assert not within(imported, {"gptmodel.tracking"}), f"{name}:{line}"


def test_two_files_alone_import_mlflow_and_one_matplotlib() -> None:
    users: dict[str, set[str]] = {"mlflow": set(), "matplotlib": set()}
    for name in SOURCES:
        for imported, _ in imports(name):
            if imported.split(".")[0] in users:
                users[imported.split(".")[0]].add(name)
    assert users == {
        "mlflow": {"gptmodel.tracking.mlflow_store", "gptmodel.tracking.registry"},
        "matplotlib": {"gptmodel.evaluation.plots"},
    }


def test_importing_the_library_imports_nothing_heavy() -> None:
    """In one new process, one module after the other; each heavy library is laid to the first that brings it."""
    names = [name for name in LIBRARY if name != "gptmodel.evaluation.plots"]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    found = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    assert not found, f'{name} imports {found}'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_init_files_are_empty_but_for_the_one_that_is_lazy() -> None:
    """A re-export makes every importer depend on all of the room."""
    inits = [path for path in SOURCES.values() if path.name == "__init__.py"]
    assert len(inits) > 8
    assert [path for path in inits if path.read_bytes()] == [ROOT / "gptmodel" / "__init__.py"]
    folders = {path.parent for path in SOURCES.values()}
    assert {path.parent for path in inits} == folders


@modules
def test_a_module_is_short(name: str) -> None:
    lines = len(SOURCES[name].read_text(encoding="utf-8").splitlines())
    cap = 250 if name.startswith("gptmodel") else 140 if name in LONG_COMMANDS else 80
    assert lines <= cap, f"{name}: {lines} lines"


@modules
def test_functions_are_short_and_take_few_parameters(name: str) -> None:
    too_much = []
    for node in ast.walk(TREES[name]):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        if lines > 40:
            too_much.append(f"{name}.{node.name}: {lines} lines")
        arguments = node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([argument for argument in names if argument not in ("self", "cls")])
        contract = name == "gptmodel.text_model" and node.name in ("generate", "stream")  # all that can be said
        if name.startswith("gptmodel") and node.name != "__init__" and count > 7 and not contract:
            too_much.append(f"{name}.{node.name}: {count} parameters")
    assert not too_much


@modules
def test_no_bare_except_no_star_no_print(name: str) -> None:
    for node in ast.walk(TREES[name]):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{where}: bare except"
        assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), f"{where}: star import"
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        assert called not in ("eval", "exec"), f"{where}: {called}"
        assert called not in ("print", "input") or not name.startswith("gptmodel"), f"{where}: {called}"
    assert name.rpartition(".")[2] not in ("utils", "helpers", "common", "misc"), f"{name}: says nothing"


@modules
def test_a_module_says_what_it_does_and_does_nothing_when_imported(name: str) -> None:
    tree = TREES[name]
    if SOURCES[name].name == "__init__.py":
        return
    assert ast.get_docstring(tree), f"{name}: has no docstring"
    for node in tree.body:
        calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        allowed = {"gptmodel.evaluation.plots": ["mpl.use"]}
        if calls:
            called = ast.unparse(node.value.func)  # type: ignore[attr-defined]
            assert name == "stages.cli" or called in allowed.get(name, []), f"{name}:{node.lineno}: calls {called}"
        for inner in ast.walk(node):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                break
            assert not (isinstance(inner, ast.Attribute) and inner.attr == "environ"), (
                f"{name}:{node.lineno}: environment"
            )


def test_the_library_uses_no_global_random_numbers() -> None:
    for name in LIBRARY:
        for node in ast.walk(TREES[name]):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert not called.startswith(("random.", "np.random.rand", "np.random.seed")), f"{name}:{node.lineno}"
            if called in ("torch.manual_seed", "torch.rand", "torch.randn", "torch.randint", "torch.randperm"):
                raise AssertionError(f"{name}:{node.lineno}: {called} draws from torch's default generator")
            if called == "torch.multinomial" or called.endswith((".exponential_", ".normal_", ".uniform_")):
                assert "generator" in {keyword.arg for keyword in node.keywords}, f"{name}:{node.lineno}"
