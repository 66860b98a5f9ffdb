"""Pages of one file each: no script, nothing from elsewhere, and all that comes from a text or a name is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

from gptmodel.errors import DataError
from gptmodel.units import setting


def render(template: str, **values: Any) -> str:
    """Return a page of this room: equal values give equal bytes. DataError for a value that has not what it shows."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["setting"] = setting
    try:
        page = environment.get_template(template).render(**values)
        return page.replace("\r", "&#13;")  # of a text; as it is, a browser makes a line of its own of it
    except (UndefinedError, TypeError, ValueError, LookupError) as error:
        raise DataError(f"{template}: what it shows is not complete ({error}); run `dvc repro` again") from None
