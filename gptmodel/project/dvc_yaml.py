"""YAML just as DVC reads and writes it: version 1.2, by ruamel.yaml. So a stage computes with what dvc.lock records."""

import io
import reprlib
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor


class _Constructor(SafeConstructor):
    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:  # noqa: ARG002
        """Refuse a key that appears twice, without writing out its values: aliases may nest them without end."""
        if not isinstance(key, str):
            raise ConstructorError(None, None, f"the key {reprlib.repr(key)} has to be a word", key_node.start_mark)
        if key in mapping:
            raise ConstructorError(None, None, f"the key {key} appears twice", key_node.start_mark)
        return True


def parse(text: str) -> Any:
    """Return the one document of a YAML text as plain values; ValueError says in one line why there is none."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except Exception as error:  # on a false tag, such as `!!bool perhaps`, ruamel.yaml fails in many ways
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from None


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
