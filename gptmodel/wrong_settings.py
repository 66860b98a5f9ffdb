"""What is wrong with a section of a params file, in the user's words: pydantic's speak of inputs and instances."""

import difflib
import reprlib
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gptmodel.address import without_password

WANTED = {  # pydantic's type of an error: what would be right
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text; one that looks like something else needs quotes",
    "string_too_short": "a text that is not empty",
    "string_unicode": "a text of whole characters, without a half such as U+D800",
    "tuple_type": "a list, such as {such_as}",
    "literal_error": "{expected}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
}
FORMER = {
    "train.threads": "is train.parts now, with the same number; runtime.threads says how many threads compute them",
}
"""Keys that there were, and what to write instead."""
OF_OUR_OWN = "Value error, "
"""What pydantic puts before the words of a check of ours."""
AS_IN_YAML = {"None": "null", "True": "true", "False": "false", "inf": ".inf", "-inf": "-.inf", "nan": ".nan"}


def faults_of(name: str, section: type[BaseModel], error: ValidationError) -> list[str]:
    """Return a line for each fault: the key, its value, and what would be right.

    `name` is the section's, which stands before its keys; "" where a key is by itself.
    """
    lines = []
    for fault in error.errors():
        place = ".".join(filter(None, (name, *map(str, fault["loc"][:1]))))
        if not fault["loc"]:  # a check of several keys, which words its own line
            lines.append(fault["msg"].removeprefix(OF_OUR_OWN))
        elif fault["type"] == "extra_forbidden":
            lines.append(f"{place}: {FORMER.get(place) or 'unknown key' + closest(str(fault['loc'][0]), section)}")
        elif fault["type"] == "missing":
            lines.append(f"{place}: missing")
        else:
            item = f": item {int(fault['loc'][1]) + 1}" if len(fault["loc"]) > 1 else ""  # of a list
            lines.append(f"{place}{item} = {shown(fault['input'])}: {_requirement(fault, section)}")
    return lines


def _requirement(fault: ErrorDetails, section: type[BaseModel]) -> str:
    if fault["type"] not in WANTED:
        return fault["msg"].removeprefix(OF_OUR_OWN)
    limits = {name: _short(limit) for name, limit in fault.get("ctx", {}).items()}
    items = get_args(section.model_fields[str(fault["loc"][0])].annotation)
    such_as = "[2, 3]" if int in items else '["a", "b"]'
    return f"has to be {WANTED[fault['type']].format(**limits, such_as=such_as)}"


def _short(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def closest(word: str, section: type[BaseModel]) -> str:
    """Return a hint at the name that was meant, or at all that there are."""
    short_forms = {"".join(part[0] for part in name.split("_")): name for name in section.model_fields}  # lr
    close = difflib.get_close_matches(word.lower(), section.model_fields, n=1) or [short_forms.get(word.lower(), "")]
    return f", did you mean {close[0]}?" if close[0] else f"; known are {', '.join(section.model_fields)}"


def shown(value: Any) -> str:
    """Return a short form of any value: YAML aliases nest into one that would fill the memory if written out."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring = 2, 6, 6, 60
    try:
        text = short.repr(without_password(value) if isinstance(value, str) else value)
    except ValueError:  # an integer of thousands of digits
        text = "a very large number"
    text = AS_IN_YAML.get(text, text)
    if isinstance(value, bytes):
        text = "binary data"
    elif isinstance(value, date):
        text = value.isoformat()
    return text if len(text) <= 60 else f"{text[:57]}..."
