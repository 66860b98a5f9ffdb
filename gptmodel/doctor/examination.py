"""The examination of a project and of the machine that it is on."""

from collections.abc import Iterator
from pathlib import Path

from gptmodel.doctor.disk import disk
from gptmodel.doctor.environment import environment
from gptmodel.doctor.experiments import experiments
from gptmodel.doctor.finding import Finding
from gptmodel.doctor.leftovers import leftovers


def examine(root: Path) -> Iterator[Finding]:
    """Yield what is fine, worth knowing or wrong about the project at `root`, and mend nothing.

    A finding with a `mend` can be repaired by a call of it, while this goes on or afterwards.
    """
    root = root.resolve()
    yield from environment(root)
    yield from experiments(root)
    yield from leftovers(root)
    yield from disk(root)
