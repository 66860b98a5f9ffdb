"""What tune.yaml says: the settings to search over, how many trials, and how they are chosen and stopped."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, field_validator

from gptmodel.config import SECTIONS, Params
from gptmodel.errors import ConfigError
from gptmodel.params_file import checked, read_yaml
from gptmodel.section import Section, key
from gptmodel.tuning.space import Choices, Range, dimension
from gptmodel.units import setting
from gptmodel.wrong_settings import closest, faults_of, shown

SEARCHED = ("model", "train")
"""The sections whose settings can be searched over: all trials train on the same data."""
NAME = re.compile(r"[A-Za-z][\w.-]{0,99}", re.ASCII)
EXAMPLE = """\
# A search for `gptmodel tune`: which settings reach the lowest val loss. docs/TUNING.md explains it.
study: first        # name of the search; workers of the same name share it
objective: val_loss # what is minimised: the val loss of a training's last evaluation
trials: 20          # trainings in all; a higher number goes on with a study
seed: 1             # seed of what is chosen
pruner: median      # median | none: stop a trial whose val loss is worse than the median of the others'
pruner_startup: 5   # trials that end before any is stopped
pruner_warmup: 1000 # iterations that each trial is given
space:              # settings of model and train: a list of choices, or a range
  train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
  train.batch_size: [8, 16, 32]
  model.dropout: {low: 0.0, high: 0.2, step: 0.05}
"""


class SearchFile(Section):
    """The keys of tune.yaml but for the space."""

    study: str = key("first", "name of the search; workers of the same name share it")
    objective: Literal["val_loss"] = key("val_loss", "what is minimised")
    trials: int = key(20, "trainings in all", gt=0, le=100_000)
    seed: int = key(1, "seed of what is chosen", ge=0)
    pruner: Literal["median", "none"] = key("median", "stop a trial that is worse than the median of the others")
    pruner_startup: int = key(5, "trials that end before any is stopped", ge=0, le=100_000)
    pruner_warmup: int = key(0, "iterations that each trial is given", ge=0)

    @field_validator("study")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("has to begin with a letter, and to have letters, digits, dots, - and _ only")
        return value


@dataclass(frozen=True)
class Search:
    """A checked tune.yaml."""

    file: SearchFile
    space: Mapping[str, Choices | Range]
    """By the names of settings, in the order of the file."""

    def params(self, base: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], where: str) -> Params:
        """Return the plain values of a params file with some settings changed; ConfigError where they do not fit."""
        changed: dict[str, Any] = copy.deepcopy(dict(base))
        for name, value in values.items():
            section, _, field = name.partition(".")
            changed[section][field] = value
        return checked(changed, where)

    def described(self) -> dict[str, Any]:
        """Return what may not change while a study goes on: all but the number of trials."""
        return {
            **self.file.model_dump(mode="json", exclude={"trials"}),
            "space": {name: each.described() for name, each in self.space.items()},
        }


def as_options(values: Mapping[str, Any]) -> str:
    """Return settings as `dvc exp run` takes them."""
    return " ".join(f"-S {name}={setting(value)}" for name, value in values.items())


def read_search(path: Path) -> Search:
    """Read a tune.yaml; ConfigError tells all its faults in one line."""
    missing = f"no such file; `gptmodel tune --example > {path}` writes one to begin with"
    values = read_yaml(path, "file of a search", missing)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: has to hold keys and values; `gptmodel tune --example` prints such a file")
    space = values.pop("space", None)
    faults: list[str] = []
    try:
        file = SearchFile.model_validate(values)
    except ValidationError as error:
        faults += [fault.replace("known are ", "known are space, ") for fault in faults_of("", SearchFile, error)]
    dimensions = {}
    if not isinstance(space, Mapping) or not space:
        example = "train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}"
        faults.append(f"space = {shown(space)}: has to hold the settings to search over, such as {example}")
    else:
        for name, content in space.items():
            try:
                dimensions[name] = _dimension(name, content)
            except ConfigError as error:
                faults.append(str(error))
    if faults:
        raise ConfigError(f"{path}: {'; '.join(faults)}")
    return Search(file, dimensions)


def _dimension(name: str, content: Any) -> Choices | Range:
    """Return what a key of the space may be; ConfigError says what is wrong with it."""
    section, _, field = name.partition(".")
    if section not in SEARCHED:
        if name in {key for each in SEARCHED for key in SECTIONS[each].model_fields}:
            owner = next(each for each in SEARCHED if name in SECTIONS[each].model_fields)
            raise ConfigError(f"space.{name}: name it with its section, {owner}.{name}")
        raise ConfigError(f"space.{name}: only settings of {' and '.join(SEARCHED)} can be searched over; remove it")
    if field not in SECTIONS[section].model_fields:
        raise ConfigError(f"space.{name}: unknown key{closest(field, SECTIONS[section])}")
    return dimension(name, SECTIONS[section], field, content)
