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


def size(count: float) -> str:
    """Return bytes for readers."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def age(seconds: float) -> str:
    """Return a time span for readers."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def listed(names: list[str], most: int = 5) -> str:
    """Return the first of some names for readers."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
