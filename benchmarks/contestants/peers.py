"""The libraries that gptmodel is compared with. `pip install -r requirements-bench.txt` brings them.

A benchmark leaves out those that are not installed.
"""

import importlib.metadata

PEERS = {"HF GPT-2": "transformers", "litgpt": "litgpt"}
"""The package that a contestant needs, for those that need one."""


def version(package: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
