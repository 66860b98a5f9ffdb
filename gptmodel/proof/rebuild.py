"""Rebuilding a revision where nothing but what git holds can help: its worktree, its stages' commands, known outs."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gptmodel.files import atomic_write, digest
from gptmodel.project.lock import Stage, dvc_setting, measure

QUIET = ("-S", "runtime.mlflow=false", "-S", "runtime.progress=none")
NOT_PASSED_ON = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_RUN_ID", "PYTHONSAFEPATH")


def run_stage(stage: Stage, tree: Path, settings: tuple[str, ...] = ()) -> str | None:
    """Run a stage's command as DVC would, its outs removed before; return None, or why it failed."""
    for path, out in stage.outs.items():
        if not out.persist:
            remove(tree / path)
    words = shlex.split(stage.cmd)
    own = words[:2] == ["python", "-m"] and len(words) == 3 and words[2].startswith("stages.")
    command = [sys.executable, *words[1:], *QUIET, *settings] if own else ["/bin/sh", "-c", stage.cmd]
    environment = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON} | {
        "DVC_ROOT": str(tree),
        "DVC_STAGE": stage.name,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",  # its files would be in the folders that stages depend on
    }
    done = subprocess.run(
        command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode == 0:
        return None
    said = (done.stderr + b"\n" + done.stdout).decode(errors="replace").strip().splitlines()
    last = done.stderr.decode(errors="replace").strip().splitlines() or said or ["it said nothing"]
    return f"{last[-1].removeprefix('error: ')} (status {done.returncode})"


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class KnownOuts:
    """Where outs of stages that are not rebuilt come from: the commit, the workspace or DVC's cache, by their md5."""

    root: Path
    committed: Mapping[str, bytes] = field(default_factory=dict)

    def place(self, path: str, md5: str, target: Path) -> bool:
        """Put the out with this md5 at `target`; return whether it was found and is whole."""
        known, workspace = self.committed.get(path), measure(self.root / path)
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if known is not None:
            atomic_write(target, known)
            if digest(target, "md5") == md5:
                return True
            remove(target)
        if workspace is not None and workspace.md5 == md5:
            copy = shutil.copytree if workspace.nfiles is not None else shutil.copyfile
            copy(self.root / path, target)
            return True
        try:
            self._from_cache(md5, target)
        except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged
            remove(target)
        found = measure(target)
        if found is None or found.md5 != md5:
            remove(target)
            return False
        return True

    def _from_cache(self, md5: str, target: Path) -> None:
        cached = self._cached(md5)
        if not md5.endswith(".dir"):
            shutil.copyfile(cached, target)
            return
        for item in json.loads(cached.read_bytes()):
            file = target.joinpath(*str(item["relpath"]).split("/"))
            if not file.resolve().is_relative_to(target.resolve()):
                raise ValueError("a path that leads out of the folder")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._cached(item["md5"]), file)

    def _cached(self, md5: str) -> Path:
        folder = dvc_setting(self.root, "cache", "dir") or "cache"  # a path in DVC's configuration starts at .dvc
        return self.root / ".dvc" / folder / "files" / "md5" / md5[:2] / md5[2:]
