"""docs/TUTORIAL.md is what docs/tutorial.py makes of the code, and what it names is there."""

import ast
import importlib.util
import re
from types import ModuleType

import pytest
from model_helpers import ROOT

from gptmodel.config import SECTIONS


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs" / "tutorial.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TUTORIAL = load()


def test_the_page_is_made_of_the_code_as_it_is() -> None:
    assert TUTORIAL.PAGE.read_text(encoding="utf-8") == TUTORIAL.page(), "run `python docs/tutorial.py`"


@pytest.mark.parametrize("item", TUTORIAL.ITEMS, ids=lambda item: item.title)
def test_the_test_and_the_settings_of_an_item_exist(item: object) -> None:
    file, _, name = item.test.partition("::")  # type: ignore[attr-defined]
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for section, key in re.findall(r"`(\w+)\.(\w+)(?:: [^`]*)?`", item.leaves):  # type: ignore[attr-defined]
        assert key in SECTIONS[section].model_fields, f"{section}.{key}"
