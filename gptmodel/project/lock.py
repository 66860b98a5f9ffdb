"""What dvc.yaml and dvc.lock say, checked field by field; and DVC's digests of files and folders.

It reads and measures. It never calls DVC.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.errors import DataError
from gptmodel.files import digest
from gptmodel.project import dvc_yaml

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
IGNORED = ("__pycache__", ".pyc", ".pyo")
"""Ends of the names that .dvcignore keeps out of a folder's digest."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder as dvc.lock records it, or as it is."""

    md5: str
    """DVC's md5; of a folder, that of its list of files, with `.dir` behind it."""
    size: int
    nfiles: int | None = None
    """Files in a folder; None for a file."""


@dataclass(frozen=True, kw_only=True)
class Out:
    """An out of a stage in dvc.yaml."""

    kind: str
    """outs, metrics or plots."""
    cached: bool
    """False for a file that git tracks instead, or nobody does."""
    persist: bool


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage as dvc.yaml asks for it."""

    name: str
    cmd: str
    deps: tuple[str, ...]
    params: dict[str, tuple[str, ...]]
    """The keys of each params file."""
    outs: dict[str, Out]


@dataclass(frozen=True, kw_only=True)
class LockedStage:
    """A stage as dvc.lock says it ran."""

    cmd: str
    deps: dict[str, Entry]
    params: dict[str, dict[str, Any]]
    outs: dict[str, Entry]


def read_yaml(path: Path, name: str) -> dict[str, Any]:
    """Read a YAML mapping as DVC reads it; DataError calls the file `name`."""
    return _parsed(_text(path, name), name)


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        maker = "run `dvc repro`, which writes it, and commit it" if path.name == "dvc.lock" else "commit one"
        raise DataError(f"{name}: no such file; {maker}") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: {str(error)[:200]}") from None


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        value = dvc_yaml.parse(text)
    except ValueError as error:
        raise DataError(f"{name}: {str(error)[:200]}") from None
    return _mapping(value, f"{name}:")


def read_lock(path: Path, name: str = "dvc.lock") -> dict[str, LockedStage]:
    """Read dvc.lock; DataError names the first thing in it that DVC would not have written."""
    return parse_lock(_text(path, name), name)


def read_stage(path: Path, stage: str) -> LockedStage:
    """Read one stage of a dvc.lock; DataError where it is not there, or not as DVC writes it.

    It is found by DVC's indentation, since to parse the whole file takes half a second.
    """
    found = re.search(rf"^  {stage}:\n((?:    .*\n)+)", _text(path, path.name), re.MULTILINE)
    if found is None:
        if stage not in (stages := read_lock(path, path.name)):
            raise DataError(f"{path.name}: has no stage {stage}")
        return stages[stage]
    where = f"{path.name}: {stage}"
    return _locked(_parsed(found[1], where), where)


def parse_lock(text: str, name: str) -> dict[str, LockedStage]:
    """Read the text of a dvc.lock, as `read_lock` does a file."""
    content = _parsed(text, name)
    if content.keys() - {"stages"} != {"schema"} or content["schema"] != "2.0":
        raise DataError(f"{name}: has to hold schema 2.0 and stages; delete it, and `dvc repro` writes it anew")
    stages = _mapping(content.get("stages", {}), f"{name}: stages")
    return {key: _locked(_mapping(value, f"{name}: {key}"), f"{name}: {key}") for key, value in stages.items()}


def _locked(value: dict[str, Any], where: str) -> LockedStage:
    _check_keys(value, {"cmd", "deps", "params", "outs"}, where)
    if not isinstance(value.get("cmd"), str):
        raise DataError(f"{where}: cmd has to be a text")
    params = _mapping(value.get("params", {}), f"{where}: params")
    return LockedStage(
        cmd=value["cmd"],
        deps=_entries(value.get("deps", []), f"{where}: deps"),
        params={file: _mapping(keys, f"{where}: params: {file}") for file, keys in params.items()},
        outs=_entries(value.get("outs", []), f"{where}: outs"),
    )


def _entries(value: Any, where: str) -> dict[str, Entry]:
    if not isinstance(value, list):
        raise DataError(f"{where} has to be a list")
    entries: dict[str, Entry] = {}
    for item in value:
        fields = _mapping(item, where)
        path = fields.get("path")
        if not isinstance(path, str) or not path or path in entries:
            raise DataError(f"{where}: path {path!r} is missing, not a text or listed twice")
        name = f"{where}: {path}"
        _check_keys(fields, {"path", "hash", "md5", "size", "nfiles", "isexec"}, name)
        md5, size, nfiles = fields.get("md5"), fields.get("size"), fields.get("nfiles")
        if fields.get("hash") != "md5" or not isinstance(md5, str) or not MD5.fullmatch(md5):
            raise DataError(f"{name}: md5 {md5!r} is not one that DVC 3 writes")
        if type(size) is not int or (type(nfiles) is int) != md5.endswith(".dir"):
            raise DataError(f"{name}: size {size!r}, nfiles {nfiles!r}: not those of a file or a folder")
        entries[path] = Entry(md5=md5, size=size, nfiles=nfiles)
    return entries


def read_pipeline(path: Path, name: str = "dvc.yaml") -> list[Stage]:
    """Read dvc.yaml and return its stages, each behind those it depends on."""
    stages = _mapping(read_yaml(path, name).get("stages", {}), f"{name}: stages")
    waiting = [_stage(key, _mapping(value, f"{name}: {key}"), f"{name}: {key}") for key, value in stages.items()]
    producers = {path: stage.name for stage in waiting for path in stage.outs}
    ordered: list[Stage] = []
    while waiting:
        ordered_names = {stage.name for stage in ordered}
        ready = [
            stage for stage in waiting if all(producers.get(dep, "") in {"", *ordered_names} for dep in stage.deps)
        ]
        if not ready:
            raise DataError(f"{name}: {', '.join(stage.name for stage in waiting)} depend on each other")
        ordered += ready
        waiting = [stage for stage in waiting if stage not in ready]
    return ordered


def _stage(stage: str, value: dict[str, Any], where: str) -> Stage:
    _check_keys(value, {"cmd", "deps", "params", "outs", "metrics", "plots", "desc", "meta", "frozen"}, where)
    cmd = value.get("cmd")
    if not isinstance(cmd, str) or "${" in cmd:
        raise DataError(f"{where}: cmd has to be one command without templates")
    deps = _list(value, "deps", where)
    if not all(isinstance(dep, str) for dep in deps):
        raise DataError(f"{where}: deps has to be a list of paths")
    params: dict[str, tuple[str, ...]] = {}
    for item in _list(value, "params", where):
        files = {file: keys or [] for file, keys in item.items()} if isinstance(item, dict) else {"params.yaml": [item]}
        for file in files:
            params[file] = (*params.get(file, ()), *map(str, _list(files, file, where)))
    outs = {}
    for kind in ("outs", "metrics", "plots"):
        for item in _list(value, kind, where):
            path, options = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else (item, {})
            if not isinstance(path, str):
                raise DataError(f"{where}: {kind} has to be a list of paths")
            flags = _mapping(options or {}, f"{where}: {path}")
            outs[path] = Out(kind=kind, cached=bool(flags.get("cache", True)), persist=bool(flags.get("persist")))
    return Stage(name=stage, cmd=cmd, deps=tuple(deps), params=params, outs=outs)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DataError(f"{where} has to be a mapping")
    return value


def _list(value: dict[str, Any], key: str, where: str) -> list[Any]:
    items = value.get(key, [])
    if not isinstance(items, list):
        raise DataError(f"{where}: {key} has to be a list")
    return items


def _check_keys(value: dict[str, Any], allowed: set[str], where: str) -> None:
    if unknown := sorted(value.keys() - allowed):
        raise DataError(f"{where}: {unknown[0]} is not known here; known are {', '.join(sorted(allowed))}")


def measure(path: Path) -> Entry | None:
    """Return what DVC would record of a file or folder; None if there is none."""
    if path.is_file():
        return Entry(md5=digest(path, "md5"), size=path.stat().st_size)
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file() and not _ignored(file.relative_to(path)))
    listing = [{"md5": digest(file, "md5"), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing.sort(key=lambda item: item["relpath"])
    md5 = md5_of(json.dumps(listing, sort_keys=True).encode())
    return Entry(md5=f"{md5}.dir", size=sum(file.stat().st_size for file in files), nfiles=len(files))


def md5_of(content: bytes) -> str:
    """Return the md5 by which DVC names a file of this content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _ignored(path: Path) -> bool:
    return any(part.endswith(IGNORED) for part in path.parts)
