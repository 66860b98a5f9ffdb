"""What a section of a params file is, and what stands with each of its keys: type, limits, words and default."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A frozen section of params.yaml: no unknown keys, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _fits_a_counter(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"has to be {'below 2^63' if value > 0 else 'above -2^63'}")
        return value

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of each key, as a file holds it."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: extra["default"] for name, extra in extras.items() if isinstance(extra, dict)}


def key(default: Any, words: str, **limits: Any) -> Any:
    """Return the field of a key that a file has to hold: `default` is what the presets start from, and no fallback.

    `words` explain the key, beside the choices of a Literal, which `described` adds.
    """
    return Field(description=words, json_schema_extra={"default": default}, **limits)


def described(field: FieldInfo) -> str:
    """Return the words of a key, behind its choices if it has any: the comment in a file, and the text of the help."""
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f"{' | '.join(choices)}: {field.description}" if choices else str(field.description)


def plain(value: Any) -> str:
    """Return a setting as a params file has it, but on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) and not value.strip() else str(value)
