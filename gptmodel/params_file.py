"""A params file and `section.key=value` overrides as plain values; what they may hold is gptmodel.config's business."""

import re
import reprlib
from pathlib import Path
from typing import Any

import yaml

from gptmodel.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it: `1e-3` is a number, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not a word", node.start_mark)
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file as plain values, unchecked but for being a YAML mapping."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such params file; run in the project's folder, or name one with --params"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: has to hold sections of keys and values (presets/ holds complete files)")
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Change one value of a params file that was read; ConfigError unless `override` is `section.key=value`."""
    match = re.fullmatch(r"([A-Za-z_]\w*)\.([A-Za-z_]\w*)=(.*)", override, re.DOTALL)
    if match is None:
        raise ConfigError(f"-S {override}: has to be section.key=value, such as -S train.learning_rate=3e-4")
    section, key, text = match.groups()
    try:
        value = yaml.load(text, _Loader) if text else ""
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"-S {override}: the value is not valid YAML: {' '.join(str(error).split())}") from None
    target = values.setdefault(section, {})
    if not isinstance(target, dict):
        raise ConfigError(f"-S {override}: {section} is not a section")
    target[key] = value


def shown(value: Any) -> str:
    """Return a short form of any value: YAML aliases nest into one that would fill the memory if written out."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring = 2, 6, 6, 60
    try:
        text = short.repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
