"""A params file and `section.key=value` overrides -> `Params`: every key is required, and an unknown one an error."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptmodel.address import without_password
from gptmodel.config import SECTIONS, Params
from gptmodel.errors import ConfigError
from gptmodel.project import dvc_yaml
from gptmodel.section import Section
from gptmodel.wrong_settings import closest, faults_of, shown

EXAMPLE = "train.learning_rate=3e-4"
MOST_BYTES = 1_000_000
"""A params file has some thousands of bytes; a device or a text named by mistake may have no end."""


def load_params(path: Path | None, overrides: Sequence[str] = ()) -> Params:
    """Read a params file, or take the defaults for None, and apply `section.key=value` overrides.

    Raises ConfigError, with every fault of the file and the overrides in one line.
    """
    values = default_values() if path is None else read_params(path)
    for override in overrides:
        apply_override(values, override)
    where = "the default settings" if path is None else str(path)
    return checked(values, f"{where} with -S" if overrides else where)


def default_values() -> dict[str, dict[str, Any]]:
    """Return every key with its default, as a params file holds it."""
    return {name: section.defaults() for name, section in SECTIONS.items()}


def checked(values: Mapping[str, Any], where: str) -> Params:
    """Turn the plain values of a params file into Params; ConfigError tells all faults, and `where` they stand."""
    faults: list[str] = []
    sections: dict[str, Section] = {}
    for name, section in SECTIONS.items():
        if name not in values:
            faults.append(f"{name}: section missing")
        elif not isinstance(values[name], Mapping):
            faults.append(f"{name} = {shown(values[name])}: has to be a section of keys and values")
        else:
            try:
                sections[name] = section.model_validate(values[name])
            except ValidationError as error:
                faults += faults_of(name, section, error)
    faults += [f"{name}: unknown section{closest(name, Params)}" for name in values if name not in SECTIONS]
    if faults:
        added = any(fault.endswith("missing") for fault in faults)
        mend = " (`python -m gptmodel.presets` adds to params.yaml what is missing, with its defaults)" if added else ""
        raise ConfigError(f"{where}: {'; '.join(faults)}{mend}")
    return Params.model_validate(sections)


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file as plain values, unchecked but for being a YAML mapping."""
    missing = "no such params file; run in the project's folder (stages take another by --params)"
    values = read_yaml(path, "params file", missing)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: has to hold sections of keys and values (presets/ holds complete files)")
    return values


def read_yaml(path: Path, kind: str, missing: str) -> Any:
    """Read a small file of settings as plain values; ConfigError, with `missing` where there is no such file."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{path}: has more than {MOST_BYTES:,} bytes, so it is no {kind}; name another one")
        return dvc_yaml.parse(content.decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: {missing}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def apply_override(values: dict[str, Any], override: str) -> None:
    """Change one value of a params file that was read; ConfigError unless `override` is `section.key=value`."""
    named = without_password(override)
    match = re.fullmatch(r"([A-Za-z_]\w*)\.([A-Za-z_]\w*)=(.*)", override, re.DOTALL)
    if match is None:
        example = next((f"{name}.{named}" for name in SECTIONS if _names_key_of(name, override)), EXAMPLE)
        raise ConfigError(f"-S {named}: has to be section.key=value, such as -S {example}")
    section, key, text = match.groups()
    try:
        value = dvc_yaml.parse(text) if text else ""
    except ValueError as error:
        raise ConfigError(f"-S {named}: the value is {error}") from None
    target = values.setdefault(section, {})
    if not isinstance(target, dict):
        raise ConfigError(f"-S {named}: {section} is not a section")
    target[key] = value


def _names_key_of(section: str, override: str) -> bool:
    name, equals, _ = override.partition("=")
    return bool(equals) and name in SECTIONS[section].model_fields
