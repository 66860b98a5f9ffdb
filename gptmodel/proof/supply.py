"""Outs that are not rebuilt: put in place by their md5, from the commit, the workspace or DVC's cache."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from gptmodel.project.dvc_config import cache_file, dvc_setting
from gptmodel.project.lock import LockedStage, Stage, md5_of, measure
from gptmodel.proof.checkout import Checkout
from gptmodel.proof.result import MISSING, Row


def supply(checkout: Checkout, stage: Stage, locked: LockedStage, *, whole: bool) -> Iterator[Row]:
    """Put the outs that the stage depends on in place, as the lock has them; yield a row for each that is nowhere.

    `whole` means that all stages are rebuilt. A stage is judged by itself: one that differs does not make those behind
    it differ. Where the locked out is nowhere, the rebuilt one has to do.
    """
    for path in stage.deps:
        entry, target = locked.deps.get(path), checkout.tree / path
        if entry is None or checkout.maker(path) is None:
            continue
        current = measure(target)
        if current is not None and current.md5 == entry.md5:
            continue
        beside = checkout.tree.parent / "supplied"
        if place(checkout, path, entry.md5, beside):
            remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            beside.rename(target)
        elif current is None:
            mend = f"mend {checkout.maker(path)} first" if whole else "verify without --stage"
            if dvc_setting(checkout.revision.root, "core", "remote"):
                mend += ", or try `dvc pull`"
            detail = f"needed, but neither rebuilt, nor in the workspace, nor in DVC's cache: {mend}"
            yield Row(stage.name, path, MISSING, detail)


def place(checkout: Checkout, path: str, md5: str, target: Path) -> bool:
    """Put the out that has this md5 at `target`; return whether it is there, and whole."""
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = checkout.committed.get(path)
    if content is not None and md5_of(content) == md5:
        target.write_bytes(content)
        return True
    workspace = checkout.revision.root / path
    entry = measure(workspace)
    if entry is not None and entry.md5 == md5:
        copy = shutil.copytree if workspace.is_dir() else shutil.copyfile
        copy(workspace, target)
        return True
    try:
        _copy_from_cache(checkout.revision.root, md5, target)
        entry = measure(target)
    except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged
        entry = None
    if entry is None or entry.md5 != md5:
        remove(target)
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy_from_cache(root: Path, md5: str, target: Path) -> None:
    if not md5.endswith(".dir"):
        shutil.copyfile(cache_file(root, md5), target)
        return
    for item in json.loads(cache_file(root, md5).read_bytes()):
        file = target.joinpath(*str(item["relpath"]).split("/"))
        if not file.resolve().is_relative_to(target.resolve()):
            raise ValueError("a path that leads out of the folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cache_file(root, item["md5"]), file)
