"""What a stage does for a debugger: it leaves the terminal to it."""

import sys
from collections.abc import Callable


def is_debugged() -> bool:
    """Tell whether a debugger follows this process from its start, as after `python -m pdb`."""
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    return sys.gettrace() is not None or (monitoring and monitoring.get_tool(monitoring.DEBUGGER_ID)) is not None


def when_called(stop: Callable[[], object]) -> None:
    """Have a bar stopped when a debugger is called, as by `breakpoint()`: it would draw over what is typed."""

    def heed(event: str, _arguments: object) -> None:
        if event in ("builtins.breakpoint", "sys.settrace"):
            stop()

    sys.addaudithook(heed)  # it stays until the process ends, which is soon after the bar
