"""What an examination of the project finds: fine, worth knowing or wrong, and how it is mended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of `gptmodel doctor`."""

    status: Literal["ok", "note", "problem"]
    text: str
    """What was found and, unless it is fine, what to do about it."""
    mend: Callable[[], str] | None = None
    """Repairs it and says what was done; None where only the user can, or where nothing has to be."""
