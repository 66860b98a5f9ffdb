"""What is wrong with a section of a params file, in the user's words: pydantic's speak of inputs and instances."""

import difflib
import reprlib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gptmodel.address import without_password

WANTED = {  # pydantic's type of an error: what would be right
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text; one that looks like something else needs quotes",
    "string_too_long": "a text of at most {max_length} characters",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list, in square brackets",
    "too_long": "a list of at most {max_length}",
    "model_type": "an object",
    "literal_error": "{expected}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
}


def faults_of(name: str, section: type[BaseModel], error: ValidationError) -> list[str]:
    """Return a line for each fault: the key, behind the section's name unless that is "", its value, what is right."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in (name, *fault["loc"]) if part != "")
        if not fault["loc"]:  # a check of several keys, which words its own line
            lines.append(fault["msg"].removeprefix("Value error, "))
        elif fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{closest(str(fault['loc'][0]), section)}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing (presets/ holds complete files)")
        else:
            lines.append(f"{key} = {shown(fault['input'])}: {_requirement(fault)}")
    return lines


def _requirement(fault: ErrorDetails) -> str:
    if fault["type"] not in WANTED:
        return fault["msg"]
    limits = {name: _short(limit) for name, limit in fault.get("ctx", {}).items()}
    return f"has to be {WANTED[fault['type']].format(**limits)}"


def _short(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def closest(word: str, section: type[BaseModel]) -> str:
    """Return a hint at the name that was meant, or at all that there are."""
    close = difflib.get_close_matches(word, section.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(section.model_fields)}"


def shown(value: Any) -> str:
    """Return a short form of any value: YAML aliases nest into one that would fill the memory if written out."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring = 2, 6, 6, 60
    try:
        text = short.repr(without_password(value) if isinstance(value, str) else value)
    except ValueError:  # an integer of thousands of digits
        text = f"a very large {type(value).__name__}"
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."
