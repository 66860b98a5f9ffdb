"""The comparison of dvc.lock with what a revision's own code makes of its own files, stage by stage."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gptmodel.errors import GptModelError
from gptmodel.project.git import Revision, git
from gptmodel.project.lock import (
    VOLATILE,
    Entry,
    LockedStage,
    Stage,
    changed_params,
    measure,
    read_lock,
    read_pipeline,
    read_yaml,
)
from gptmodel.proof.rebuild import KnownOuts, remove, run_stage
from gptmodel.proof.tolerance import (
    DIFFERS,
    ELSEWHERE,
    FAILED,
    MISSING,
    SAME,
    TOLERANCE,
    VARIES,
    another_machine,
    compare_metrics,
    explained,
    platform_here,
    platform_of,
)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    stage: str
    path: str
    status: str
    detail: str


class Verification:
    """The comparison of a revision's lock with what its own code makes of its own files."""

    def __init__(self, revision: Revision, tree: Path, tell: Callable[[str], None]) -> None:
        self.revision, self.tree, self.tell = revision, tree, tell
        self.stages = read_pipeline(tree / "dvc.yaml", f"{revision}: dvc.yaml")
        self.lock = read_lock(tree / "dvc.lock", f"{revision}: dvc.lock")
        self.rows: list[Row] = []
        self.explanations: list[str] = []
        self._elsewhere: str | None = None
        self._made_by = {path: stage.name for stage in self.stages for path in stage.outs}
        self._committed = {path: (tree / path).read_bytes() for path in self._made_by if (tree / path).is_file()}
        self._known = KnownOuts(root=revision.root, committed=self._committed)

    def run(self, names: list[str]) -> None:
        """Examine the stages of these names, or all."""
        there = [stage.name for stage in self.stages]
        if unknown := [name for name in names if name not in there]:
            raise GptModelError(f"--stage {unknown[0]}: no such stage; there are {', '.join(there)}")
        for name in self.lock.keys() - set(there):
            self.rows.append(Row(name, "", DIFFERS, "in dvc.lock, but not in dvc.yaml"))
        for stage in self.stages:
            if names and stage.name not in names:
                continue
            locked = self.lock.get(stage.name)
            if locked is None:
                self.rows.append(Row(stage.name, "", MISSING, "not in dvc.lock: run `dvc repro` and commit it"))
                continue
            self._compare_inputs(stage, locked)
            if self._supply(stage, locked) and self._rebuild(stage, locked):
                for path in stage.outs:
                    self._compare_out(stage, path, locked.outs.get(path))
                for path in locked.outs.keys() - stage.outs.keys():
                    self.rows.append(Row(stage.name, path, DIFFERS, "an out in dvc.lock, but not in dvc.yaml"))
        if self.revision.is_head:
            self._compare_workspace([stage for stage in self.stages if not names or stage.name in names])

    def _compare_inputs(self, stage: Stage, locked: LockedStage) -> None:
        """Compare command, code and settings of the revision with those the lock names."""
        faults: list[tuple[str, str]] = []
        if locked.cmd != stage.cmd:
            faults.append(("command", f"lock {locked.cmd!r}, dvc.yaml {stage.cmd!r}"))
        for path in sorted({*stage.deps, *locked.deps}):
            entry, maker = locked.deps.get(path), self._made_by.get(path)
            if entry is None or path not in stage.deps:
                faults.append((path, f"a dependency only in {'dvc.yaml' if entry is None else 'dvc.lock'}"))
            elif maker is None:
                faults += [(path, change) for change in _changes(entry, measure(self.tree / path), "revision")]
            elif maker in self.lock and self.lock[maker].outs.get(path) != entry:
                faults.append((path, f"dvc.lock has it otherwise as an out of {maker}"))
        for file in sorted({*stage.params, *locked.params}):
            now = read_yaml(self.tree / file, f"{self.revision}: {file}") if (self.tree / file).is_file() else {}
            changes = changed_params(locked.params.get(file, {}), now, stage.params.get(file, ()))
            faults += [(file, change) for change in changes]
        self.rows += [Row(stage.name, path, DIFFERS, detail) for path, detail in faults]
        if not faults:
            sections = ", ".join(key for keys in stage.params.values() for key in keys)
            detail = f"{len(stage.deps)} dependencies; settings {sections or 'none'}"
            self.rows.append(Row(stage.name, "code, data, settings", SAME, detail))

    def _supply(self, stage: Stage, locked: LockedStage) -> bool:
        """Put the outs that the stage depends on in place, as the lock has them where that can be; False if one lacks.

        A stage is judged by itself: one that differs does not make those behind it differ.
        """
        lacking = []
        for path in stage.deps:
            entry, there = locked.deps.get(path), measure(self.tree / path)
            if path not in self._made_by or entry is None or (there is not None and there.md5 == entry.md5):
                continue
            beside = self.tree.parent / "supplied"
            if self._known.place(path, entry.md5, beside):
                remove(self.tree / path)
                (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
                beside.rename(self.tree / path)
            elif there is None:
                lacking.append(path)
        detail = "neither rebuilt, in the workspace nor in DVC's cache: `dvc pull`, or verify without --stage"
        self.rows += [Row(stage.name, path, MISSING, f"needed, but {detail}") for path in lacking]
        return not lacking

    def _rebuild(self, stage: Stage, locked: LockedStage) -> bool:
        self.tell(f"rebuilding {stage.name} ...")
        settings: tuple[str, ...] = ()
        source = self._source(stage)
        if source == "own" and not self._take_text(stage, locked):  # an input: it is where the user keeps it
            for path in stage.outs:
                self.rows.append(
                    Row(stage.name, path, DIFFERS, "your own text in the workspace is not that of dvc.lock")
                )
            return False
        if source and source != "own" and "://" not in source and not (self.tree / source).exists():
            here = self.revision.root / source  # a path that git does not track
            settings = ("-S", f"fetch.source={json.dumps(str(here))}") if here.is_file() else ()
        reason = run_stage(stage, self.tree, settings)
        if reason is not None and source and self._take_text(stage, locked):
            self.explanations.append(f"{stage.name}: {reason}; the workspace's text was checked by its sha256 instead")
            reason = run_stage(stage, self.tree, settings)
        if reason is not None:
            self.rows.append(Row(stage.name, "", FAILED, reason))
        return reason is None

    def _source(self, stage: Stage) -> str | None:
        if stage.name != "fetch":
            return None
        section = read_yaml(self.tree / "params.yaml", f"{self.revision}: params.yaml").get("fetch")
        return str(section.get("source")) if isinstance(section, dict) else None

    def _take_text(self, stage: Stage, locked: LockedStage) -> bool:
        """Put the workspace's text in place, if it is that of the lock."""
        wanted = [(path, locked.outs[path]) for path in stage.outs if path in locked.outs]
        return all(self._known.place(path, entry.md5, self.tree / path) for path, entry in wanted)

    def _compare_out(self, stage: Stage, path: str, entry: Entry | None) -> None:
        rebuilt, committed = measure(self.tree / path), self._committed.get(path)
        status, detail = SAME, f"md5 {rebuilt.md5[:8]}" if rebuilt else ""
        if entry is None or rebuilt is None:
            status, detail = MISSING, "not in dvc.lock" if entry is None else "the stage did not write it"
        elif stage.outs[path].kind != "outs" and not stage.outs[path].cached and committed is None:
            status, detail = MISSING, f"not committed: `git add {path}`"
        elif committed is not None and (md5 := _md5(committed)) != entry.md5:
            status, detail = DIFFERS, f"lock {entry.md5[:8]}, committed {md5[:8]}, rebuilt {rebuilt.md5[:8]}"
        elif path in VOLATILE:
            status, detail = VARIES, VOLATILE[path]
        elif rebuilt != entry:
            detail = "; ".join(_changes(entry, rebuilt, "rebuilt"))
            if path.endswith(".pth"):
                self._elsewhere = self._explain_model(path, entry)
            status, more = self._weigh(stage, path)
            detail += f"; {more}" if more else ""
        self.rows.append(Row(stage.name, path, status, detail))

    def _weigh(self, stage: Stage, path: str) -> tuple[str, str]:
        """Judge an out of other bytes: metrics by their numbers, all else that a model decides by the platform."""
        by_model = any(name.endswith(".pth") for name in (*stage.outs, *stage.deps))
        if not by_model:
            return DIFFERS, ""
        if path not in TOLERANCE:
            return (ELSEWHERE, "") if self.elsewhere else (DIFFERS, "")
        if (committed := self._committed.get(path)) is None:
            return DIFFERS, ""
        return compare_metrics(path, committed, (self.tree / path).read_bytes(), bool(self.elsewhere))

    @property
    def elsewhere(self) -> str:
        """In what the platform here is another than that of the locked model; empty if in nothing that is known."""
        if self._elsewhere is None:  # the model was not rebuilt
            self._elsewhere = ""
            for path, entry in ((path, entry) for locked in self.lock.values() for path, entry in locked.outs.items()):
                if path.endswith(".pth"):
                    self._elsewhere = self._explain_model(path, entry)
        return self._elsewhere

    def _explain_model(self, path: str, entry: Entry) -> str:
        """Say on which platforms the locked and the rebuilt model were trained; return in what the machines differ."""
        beside = self.tree.parent / "locked.pth"
        known = self._known.place(path, entry.md5, beside)
        rebuilt = measure(self.tree / path)
        try:
            there = platform_of(beside if known else self.revision.root / path)
            new = rebuilt is not None and rebuilt.md5 != entry.md5
            here = platform_of(self.tree / path) if new else {**there, **platform_here()}
        except (GptModelError, KeyError) as error:
            self.explanations.append(f"{path}: where the locked model was trained cannot be told: {error}")
            return ""
        named = "the locked model" if known else "the workspace's model"
        if new or there != here:
            self.explanations += explained(path, {named: there, "the rebuilt one" if new else "this machine": here})
        return another_machine(there, here) if known else ""

    def _compare_workspace(self, stages: list[Stage]) -> None:
        """Find copies in the workspace that are not those of the lock: a model, a metric or a lock edited by hand."""
        root = self.revision.root
        try:
            mine = read_lock(root / "dvc.lock")
        except GptModelError:
            mine = {}
        tracked = ["dvc.lock", *(path for stage in stages for path in stage.outs if path in self._committed)]
        changed = git(root, "diff", "--name-only", "--relative", "HEAD", "--", *tracked).splitlines()
        for path in changed:
            detail = f"it is not that of {self.revision}: commit it, or `git restore {path}`"
            self.rows.append(Row("workspace", path, DIFFERS, detail))
        for stage in stages:
            locks = [lock[stage.name].outs for lock in (self.lock, mine) if stage.name in lock]
            for path in stage.outs.keys() - set(tracked):
                there = measure(root / path)
                if there is not None and there not in [outs.get(path) for outs in locks]:
                    detail = f"md5 {there.md5[:8]} is not that of dvc.lock: `dvc checkout {path}`"
                    self.rows.append(Row("workspace", path, DIFFERS, detail))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _changes(locked: Entry, found: Entry | None, where: str) -> Iterable[str]:
    if found is None:
        yield f"lock {locked.md5[:8]}, {where}: no such file"
    elif found.md5 != locked.md5:
        yield f"lock {locked.md5[:8]}, {where} {found.md5[:8]}"
    elif found != locked:
        yield f"lock {locked.size} bytes and {locked.nfiles} files, {where} {found.size} and {found.nfiles}"
