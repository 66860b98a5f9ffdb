"""What a verification says: rows of what was compared, explanations, and the proof that they make together."""

from collections.abc import Iterable
from dataclasses import dataclass

from gptmodel.project.git import Revision

SAME, TIME, VARIES = "same", "same, but for the time it took", "volatile"
NEAR, ELSEWHERE = "within tolerance", "other platform"
DIFFERS, MISSING, FAILED = "differs", "missing", "failed"
PROVEN, EXCUSED = (SAME, TIME, VARIES), (NEAR, ELSEWHERE)


@dataclass(frozen=True)
class Rebuilding:
    """The rebuild of a stage begins."""

    stage: str


@dataclass(frozen=True)
class Row:
    """A file, a command or a group of settings beside what dvc.lock says of it."""

    stage: str
    """`workspace` for a file that is not that of the revision there."""
    path: str
    status: str
    detail: str


@dataclass(frozen=True)
class Explanation:
    """A line that says why bytes differ, or how a stage was rebuilt all the same."""

    text: str
    other_platform: str = ""
    """In what this machine is another platform than that of the locked model, where that excuses other bytes."""


Event = Rebuilding | Row | Explanation


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a finished verification says of a revision."""

    revision: Revision
    rows: tuple[Row, ...]
    explanations: tuple[str, ...]
    other_platform: str
    """In what this machine is another platform than that of the locked model; empty where nothing is excused by it."""

    @classmethod
    def of(cls, revision: Revision, events: Iterable[Event]) -> "Proof":
        """Collect all that a verification yields."""
        events = list(events)
        explanations = [event for event in events if isinstance(event, Explanation)]
        return cls(
            revision=revision,
            rows=tuple(event for event in events if isinstance(event, Row)),
            explanations=tuple(explanation.text for explanation in explanations),
            other_platform=next(filter(None, (explanation.other_platform for explanation in explanations)), ""),
        )

    @property
    def faults(self) -> list[Row]:
        """What speaks against dvc.lock."""
        return [row for row in self.rows if row.status not in (*PROVEN, *EXCUSED)]

    @property
    def excused(self) -> bool:
        """Nothing speaks against dvc.lock, but some bytes differ as those of another platform may."""
        return not self.faults and any(row.status in EXCUSED for row in self.rows)

    @property
    def proven(self) -> bool:
        """Everything is what dvc.lock says, to the byte."""
        return all(row.status in PROVEN for row in self.rows)
