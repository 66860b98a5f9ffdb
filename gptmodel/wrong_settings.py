"""What is wrong with a section of a params file, in the user's words: pydantic's speak of inputs and instances."""

import difflib

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gptmodel.params_file import shown


def faults_of(name: str, section: type[BaseModel], error: ValidationError) -> list[str]:
    """Return a line for each fault: the key, its value, and what would be right."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in (name, *fault["loc"]))
        if not fault["loc"]:  # a check of several keys, which words its own line
            lines.append(fault["msg"].removeprefix("Value error, "))
        elif fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{closest(str(fault['loc'][0]), section)}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing (presets/ holds complete files)")
        else:
            lines.append(f"{key} = {shown(fault['input'])}: {_wanted(fault)}")
    return lines


def _wanted(fault: ErrorDetails) -> str:
    return fault["msg"].removeprefix("Input ")


def closest(word: str, section: type[BaseModel]) -> str:
    """Return a hint at the name that was meant, or at all that there are."""
    close = difflib.get_close_matches(word, section.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(section.model_fields)}"
