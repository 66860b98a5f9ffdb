"""Rebuilding a stage of a revision where nothing can help but what git holds: no cache, no snapshots, no MLflow."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from gptmodel.project.layout import Layout, leads_to_files, local_path, source_path
from gptmodel.project.lock import LockedStage, Stage
from gptmodel.proof.checkout import Checkout
from gptmodel.proof.result import DIFFERS, FAILED, Explanation, Row
from gptmodel.proof.supply import place, remove

QUIET = ("-S", "runtime.mlflow=false", "-S", "runtime.progress=none")
NOT_PASSED_ON = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_RUN_ID", "PYTHONSAFEPATH")


def rebuild(checkout: Checkout, stage: Stage, locked: LockedStage) -> Generator[Row | Explanation, None, bool]:
    """Run a stage in its tree; yield what is to be said of that, and return whether its outs can be compared."""
    source = checkout.setting("fetch", "source") if stage.name == "fetch" else None
    if source == "own" and not _take_text(checkout, locked):  # an input: it is where the user keeps it
        text = Layout().text.as_posix()
        detail = "your own text here is not the one in dvc.lock: put that one back, or run `dvc repro` and commit"
        if not (checkout.revision.root / text).exists():
            detail = "your own text is not here, and DVC does not store it: put it there; `gptmodel doctor` says which"
        yield Row(stage.name, text, DIFFERS, detail)
        return False
    settings = _untracked_sources(checkout)
    reason = run_stage(stage, checkout.tree, settings)
    if reason is not None and source and _take_text(checkout, locked):
        yield Explanation(f"{stage.name}: {reason}; the workspace's text was checked by its sha256 instead")
        reason = run_stage(stage, checkout.tree, settings)
    if reason is not None:
        yield Row(stage.name, "", FAILED, reason)
    return reason is None


def _untracked_sources(checkout: Checkout) -> tuple[str, ...]:
    """Return the settings that name texts in the project's folder, for those that git does not have."""
    leading = {
        "fetch.source": source_path(checkout.setting("fetch", "source") or "own"),
        "prepare.val_source": local_path(checkout.setting("prepare", "val_source") or ""),
        "train.init_from": local_path(checkout.setting("train", "init_from") or ""),
    }
    settings: list[str] = []
    for name, where in leading.items():
        here, there = (root / (where or "") for root in (checkout.revision.root, checkout.tree))
        if where not in (None, Path()) and leads_to_files(here) and not leads_to_files(there):
            settings += ["-S", f"{name}={json.dumps(str(here))}"]
    return tuple(settings)


def _take_text(checkout: Checkout, locked: LockedStage) -> bool:
    """Put the workspace's text in place, if it is that of the lock."""
    text = Layout().text.as_posix()
    return text not in locked.outs or place(checkout, text, locked.outs[text].md5, checkout.tree / text)


def run_stage(stage: Stage, tree: Path, settings: tuple[str, ...] = ()) -> str | None:
    """Run a stage's command as DVC would, its outs removed before; return None, or why it failed."""
    for path, out in stage.outs.items():
        if not out.persist:
            remove(tree / path)
    words = stage.cmd.split()
    is_own_stage = words[:2] == ["python", "-m"] and len(words) == 3 and words[2].startswith("stages.")
    command = [sys.executable, *words[1:], *QUIET, *settings] if is_own_stage else ["/bin/sh", "-c", stage.cmd]
    environment = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON} | {
        "DVC_ROOT": str(tree),
        "DVC_STAGE": stage.name,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",  # its files would be in the folders that stages depend on
    }
    result = subprocess.run(
        command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if result.returncode == 0:
        return None
    outputs = [stream.decode(errors="replace").strip().splitlines() for stream in (result.stdout, result.stderr)]
    last_lines = [line for lines in outputs for line in lines[-1:]] or ["it printed nothing"]
    return f"{last_lines[-1].removeprefix('error: ')} (status {result.returncode})"
