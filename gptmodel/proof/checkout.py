"""A revision in a folder of its own: what its dvc.yaml asks for, what its dvc.lock says, and which outs git holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.errors import GptModelError
from gptmodel.project.git import Revision
from gptmodel.project.lock import Entry, LockedStage, Stage, read_lock, read_pipeline, read_yaml


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A revision in a folder of its own, where its stages can be rebuilt."""

    revision: Revision
    tree: Path
    stages: list[Stage]
    """Each behind those that it depends on."""
    lock: dict[str, LockedStage]
    committed: dict[str, bytes]
    """The outs that git holds, by path: the rebuild overwrites their files."""

    @classmethod
    def read(cls, revision: Revision, tree: Path) -> "Checkout":
        """Read dvc.yaml, dvc.lock and the committed outs; DataError when they are not as DVC writes them."""
        stages = read_pipeline(tree / "dvc.yaml", f"{revision}: dvc.yaml")
        lock = read_lock(tree / "dvc.lock", f"{revision}: dvc.lock")
        outs = [path for stage in stages for path in stage.outs]
        committed = {path: (tree / path).read_bytes() for path in outs if (tree / path).is_file()}
        return cls(revision=revision, tree=tree, stages=stages, lock=lock, committed=committed)

    def stages_named(self, names: Sequence[str]) -> list[Stage]:
        """Return the stages of these names, or all for no name; GptModelError for a name that no stage has."""
        stages = {stage.name: stage for stage in self.stages}
        if unknown := [name for name in names if name not in stages]:
            raise GptModelError(f"--stage {unknown[0]}: no such stage; there are {', '.join(stages)}")
        return [stage for stage in self.stages if not names or stage.name in names]

    def maker(self, path: str) -> str | None:
        """Return the name of the stage that makes a file; None for an input of the pipeline."""
        return next((stage.name for stage in self.stages if path in stage.outs), None)

    def settings(self, file: str) -> dict[str, Any]:
        """Return what a params file of the revision holds; nothing if there is no such file."""
        path = self.tree / file
        return read_yaml(path, f"{self.revision}: {file}") if path.is_file() else {}

    def setting(self, section: str, key: str) -> str | None:
        """Return a setting of the revision as a text; None where it is null or missing."""
        values = self.settings("params.yaml").get(section)
        value = values.get(key) if isinstance(values, dict) else None
        return None if value is None else str(value)


def difference(locked: Entry, actual: Entry | None, where: str) -> str:
    """Return in what a file is not as dvc.lock records it, for readers; nothing if it is."""
    if actual is None:
        return f"lock {locked.md5[:8]}, {where}: no such file"
    if actual.md5 != locked.md5:
        return f"lock {locked.md5[:8]}, {where} {actual.md5[:8]}"
    if actual != locked:
        return f"lock {locked.size} bytes and {locked.nfiles} files, {where} {actual.size} and {actual.nfiles}"
    return ""
