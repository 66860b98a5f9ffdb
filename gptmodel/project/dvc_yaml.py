"""YAML just as DVC reads and writes it: version 1.2, by ruamel.yaml. So a stage computes with what dvc.lock records."""

import io
import re
import reprlib
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from gptmodel.files import merge_conflict

DEPTH = 100
"""A params file and DVC's own are four levels deep. What Python's own limit takes differs by what ran before."""


class _Constructor(SafeConstructor):
    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:  # noqa: ARG002
        """Refuse a key that appears twice, without writing out its values: aliases may nest them without end."""
        if not isinstance(key, str):
            shown = "null" if key is None else reprlib.repr(key)
            raise ConstructorError(None, None, f"the key {shown} has to be a word", key_node.start_mark)
        if key in mapping:
            raise ConstructorError(None, None, f"the key {key} appears twice", key_node.start_mark)
        return True


def parse(text: str) -> Any:
    """Return the one document of a YAML text as plain values; ValueError says in one line why there is none."""
    return deepcopy(_parsed(text))


@lru_cache(maxsize=8)  # a dvc.lock takes half a second, and a stage asks for the same files several times
def _parsed(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.max_depth = DEPTH
    try:
        return yaml.load(text)
    except (MaxDepthExceededError, RecursionError):
        raise ValueError("not valid YAML: it is nested too deeply") from None
    except MarkedYAMLError as error:
        raise ValueError(f"not valid YAML: {merge_conflict(text) or _located(error)}") from None
    except ReaderError as error:
        reason = f"character {error.position} (counted from 0) is U+{error.character:04X}, which no YAML may hold"
        raise ValueError(f"not valid YAML: {reason}") from None
    except Exception:  # on a false tag, such as `!!bool perhaps`, ruamel.yaml fails in many ways
        reason = "a date that does not exist, a number of too many digits, or a tag that its value does not fit"
        raise ValueError(f"not valid YAML: {reason}") from None


def _located(error: MarkedYAMLError) -> str:
    """Return what is wrong with a text of YAML, behind its line and column, counted from 1, if it has several lines."""
    problem = error.problem or error.context or "it cannot be read"
    if problem.startswith("but "):
        problem = f"{error.context} {problem}"
    problem = problem.replace("'<stream end>'", "the end of the text").replace("end of stream", "end of the text")
    if tag := re.fullmatch(r"could not determine a constructor for the tag '(.*)'", problem):
        problem = f"the tag {tag[1]} is not allowed here"
    mark = error.problem_mark or error.context_mark
    if mark is None or not mark.line:
        return problem
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def changed(text: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a YAML text with some keys of its sections changed, as DVC changes them: all else of it stays.

    The text has to be one that `parse` takes.
    """
    yaml = YAML()
    yaml.default_flow_style = False
    document = yaml.load(text)
    for section, keys in values.items():
        document.setdefault(section, {}).update(keys)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def dump(values: dict[str, Any]) -> str:
    """Return plain values as the YAML text that DVC would write: an empty value for None, a list item a line."""
    yaml = YAML()
    yaml.default_flow_style = False
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
