"""`gptmodel.load(path)` opens a trained model. Importing the package alone imports nothing: torch takes seconds."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptmodel.text_model import load as load


def __getattr__(name: str) -> object:
    if name == "load":
        from gptmodel.text_model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "load"]
