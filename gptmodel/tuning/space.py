"""What a setting may be in a search: one of some choices, or a number in a range."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args

from pydantic import ValidationError

from gptmodel.errors import ConfigError
from gptmodel.section import Section
from gptmodel.units import setting
from gptmodel.wrong_settings import faults_of

DIGITS, FLOAT_DIGITS = 4, 12
"""Of a number that may be any, and of a sum of steps, without what the last bits add to 0.15."""


@dataclass(frozen=True)
class Choices:
    """Some values, by what -S calls them: a database keeps texts only."""

    values: Mapping[str, Any]

    def value(self, drawn: str) -> Any:
        """Return the value of the setting."""
        return self.values.get(drawn)

    def described(self) -> list[str]:
        """Return it as plain values."""
        return [*self.values]


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    """Whether a factor counts, and not a difference."""
    step: float | None
    """From one number to the next; None for any number, or any whole one."""
    whole: bool

    def value(self, drawn: float) -> float:
        """Return the value of the setting: of any number, the digits that matter to a training."""
        if self.whole:
            return int(drawn)
        rounded = float(f"{drawn:.{DIGITS if self.step is None else FLOAT_DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def described(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


class RangeKeys(Section):
    """A range as tune.yaml has it."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


def dimension(name: str, section: type[Section], field: str, content: Any) -> Choices | Range:
    """Return what tune.yaml says a setting may be; ConfigError says what is wrong with that."""
    if isinstance(content, list):
        return _choices(name, section, field, content)
    if not isinstance(content, Mapping):
        raise ConfigError(f"space.{name}: has to be a list of choices, such as [1, 2], or a range: {{low: 1, high: 2}}")
    try:
        keys = RangeKeys.model_validate(content)
    except ValidationError as error:
        raise ConfigError("; ".join(faults_of(f"space.{name}", RangeKeys, error))) from None
    numbers = _numbers(section, field)
    if not numbers:
        raise ConfigError(f"space.{name}: is no number, so it has no range; give a list of choices")
    for end in ("low", "high"):
        _check_value(name, section, field, content[end])
    whole = int in numbers
    _check_range(name, keys, whole=whole)
    return Range(low=content["low"], high=content["high"], log=keys.log, step=content.get("step"), whole=whole)


def _choices(name: str, section: type[Section], field: str, content: list[Any]) -> Choices:
    if len(content) < 2:
        raise ConfigError(f"space.{name}: has to have two choices or more")
    for value in content:
        _check_value(name, section, field, value)
    values = {setting(value): value for value in content}
    if len(values) < len(content):
        raise ConfigError(f"space.{name}: has a choice twice")
    return Choices(values)


def _check_range(name: str, keys: RangeKeys, *, whole: bool) -> None:
    if keys.low >= keys.high:
        raise ConfigError(f"space.{name}: low = {keys.low:g} has to be below high = {keys.high:g}")
    if keys.log and keys.low <= 0:
        raise ConfigError(f"space.{name}: low = {keys.low:g} has to be above 0 where log is true")
    if keys.step is None:
        return
    if keys.log:
        raise ConfigError(f"space.{name}: has a step, and log is true; drop one of them")
    if not 0 < keys.step <= keys.high - keys.low:
        raise ConfigError(f"space.{name}: step = {keys.step:g} has to be above 0 and at most high - low")
    if whole and not keys.step.is_integer():
        raise ConfigError(f"space.{name}: step = {keys.step:g} has to be a whole number")


def _check_value(name: str, section: type[Section], field: str, value: Any) -> None:
    """Raise ConfigError where a setting cannot have a value, whatever the others are."""
    try:
        section.model_validate({**section.defaults(), field: value})
    except ValidationError as error:
        if any(fault["loc"] for fault in error.errors()):  # else it is a check of several settings together
            faults = faults_of(f"space.{name.partition('.')[0]}", section, error)
            raise ConfigError("; ".join(faults)) from None


def _numbers(section: type[Section], field: str) -> set[type]:
    """Return the kinds of numbers that a setting can be."""
    annotation = section.model_fields[field].annotation
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return {int, float} & {*kinds}
