"""The libraries of other programs, which are no part of the install."""

import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec

from gptmodel.errors import ExportError

INSTALL = "`pip install -r requirements-export.txt`, run in the project's folder,"


def require(names: Iterable[str]) -> dict[str, str]:
    """Return the version of each library; ExportError says how to install what is missing.

    Whatever of them could ask a hub of models for something is told not to: all that is read is here.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if missing := [name for name in names if find_spec(name) is None]:
        raise ExportError(f"{' and '.join(missing)} not installed; {INSTALL} installs what exports need")
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    """Return the version of a library; what brings it may have another name, as onnxruntime-gpu brings onnxruntime."""
    try:
        return version(name)
    except PackageNotFoundError:
        return version(packages_distributions()[name][0])
