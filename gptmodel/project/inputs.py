"""A stage's inputs by their digests: the code that decides its result, and what it read, before and after it ran."""

import hashlib
import time
from pathlib import Path
from typing import Any

import gptmodel
from gptmodel.errors import ConfigError, DataError, GptModelError
from gptmodel.files import digest, read_mapping
from gptmodel.project import dvc_yaml
from gptmodel.project.layout import Layout
from gptmodel.project.lock import read_stage

PIPELINE_FILE = Path("dvc.yaml")
SETTLED_NS = 3_000_000_000
CODE = ("gptmodel", "stages", "requirements.txt")


class Inputs:
    """What dvc.yaml names for a stage, as it was when the stage began; nothing outside a project with a dvc.yaml.

    DVC hashes inputs after a stage only, and would record a false link where one changed meanwhile. A large file that
    the stage hashes itself, as it reads it, is `measured`: it is hashed again only if its times do not vouch for it.
    """

    def __init__(self, stage: str, params_file: Path, measured: Path | None = None) -> None:
        definition = _definition(PIPELINE_FILE, stage)
        deps = definition.get("deps", [])
        self.stage, self.params_file = stage, params_file
        self.sections = definition.get("params", [])
        self.measured = measured if str(measured) in deps else None
        self._times = _settled_times(self.measured) if self.measured else None
        self.files = _digests([dep for dep in deps if Path(dep) != self.measured])
        self.settings = _settings(params_file, self.sections)

    def check(self, measured: str = "") -> None:
        """Raise an error if anything changed meanwhile; to be called before a result is written.

        `measured` is the sha256 of the file of that name, as the stage read it.
        """
        current = _digests(list(self.files))
        changed = [path for path in current if current[path] != self.files[path]]
        if self.measured and (self._times is None or _times(self.measured) != self._times):
            changed += [str(self.measured)] if _digest(self.measured) != measured else []
        if changed:
            raise DataError(f"{changed[0]}: changed while {self.stage} ran; run it again")
        for section, values in _settings(self.params_file, self.sections).items():
            if values != self.settings[section]:
                raise ConfigError(f"{self.params_file}: section {section} changed while {self.stage} ran; run it again")


def code_digest(stage: str) -> str:
    """Return the digest of the code that decides a stage's result: what dvc.yaml has of it among the dependencies.

    The dvc.yaml is that of the checkout which this code runs from; an installed package has none, and counts whole.
    """
    assert gptmodel.__file__ is not None
    checkout = Path(gptmodel.__file__).parents[1]
    definition = _definition(checkout / PIPELINE_FILE, stage)
    deps = [dep for dep in definition.get("deps", ["gptmodel", "stages"]) if Path(dep).parts[0] in CODE]
    sha = hashlib.sha256()
    for dep in sorted(deps):
        sha.update(f"{dep} {_digest(checkout / dep)}\n".encode())
    return sha.hexdigest()


def text_digest(root: Path = Path()) -> str:
    """Return the sha256 of the text that data/prepared was made of, as prepare measured it; or `unknown`."""
    return str(read_mapping(Layout(root).metrics("prepare")).get("text_sha256", "unknown"))


def source_in_lock(root: Path = Path()) -> str | None:
    """Return the fetch.source that dvc.lock was written with; None where it has none."""
    try:
        return str(read_stage(root / "dvc.lock", "fetch").params["params.yaml"]["fetch"]["source"])
    except (GptModelError, LookupError, TypeError):
        return None


def text_in_lock(source: str, root: Path = Path()) -> str | None:
    """Return DVC's md5 of the text that dvc.lock has for this fetch.source; None if it was written for another one."""
    try:
        text = read_stage(root / "dvc.lock", "fetch").outs[Layout().text.as_posix()]
        return text.md5 if source_in_lock(root) == source else None
    except (GptModelError, LookupError):
        return None


def settings_in_lock(stage: str) -> dict[str, Any]:
    """Return the settings that dvc.lock has for a stage; nothing where it has none."""
    try:
        return read_stage(Path("dvc.lock"), stage).params["params.yaml"]
    except (GptModelError, LookupError):
        return {}


def text_elsewhere(source: str, root: Path) -> str | None:
    """Say how to go on without the text of this fetch.source; None if dvc.lock was written with another one.

    DVC never stores the text, nor the files that it was made of: a clone has all that was made of it, but not the text.
    """
    md5 = text_in_lock(source, root)
    if md5 is None:
        return None
    sha256 = text_digest(root)
    digest_of_text = f"md5 {md5} (its sha256 comes with `dvc pull`)" if sha256 == "unknown" else f"sha256 {sha256}"
    put = "put the text there that has" if source == "own" else "put there what the text was made of, which has"
    return f"`dvc repro --allow-missing` goes on without it; or {put} the {digest_of_text}"


def _definition(pipeline: Path, stage: str) -> dict[str, Any]:
    """Return what a dvc.yaml says of a stage; nothing where there is no such file, and DataError if it says nothing."""
    if not pipeline.is_file():
        return {}
    try:
        definition = dict(dvc_yaml.parse(pipeline.read_text(encoding="utf-8"))["stages"][stage])
        for key in ("deps", "params"):
            items = definition.get(key, [])
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                raise ValueError(f"{stage}: {key} has to be a list of names")
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = f"has no stage {stage}" if isinstance(error, LookupError | TypeError) else str(error)
        raise DataError(
            f"{pipeline}: {reason}; `git checkout HEAD -- dvc.yaml` brings the committed one back"
        ) from None
    return definition


def _digests(paths: list[str]) -> dict[str, str]:
    return {path: _digest(Path(path)) for path in paths if Path(path) != Layout().run}


def _digest(path: Path) -> str:
    """Return the digest of a file, or of all files of a folder but what the interpreter leaves there."""
    if not path.is_dir():
        return digest(path) if path.is_file() else "missing"
    sha = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts and file.suffix not in (".pyc", ".pyo", ".tmp"):
            sha.update(f"{file.relative_to(path)} {digest(file)}\n".encode())
    return sha.hexdigest()


def _times(path: Path) -> tuple[int, ...] | None:
    """Return which file it is, its size, and when it was last changed, in content or otherwise; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _settled_times(path: Path) -> tuple[int, ...] | None:
    """Return the same; None where the next change might get no other time, since some file systems count in seconds."""
    times = _times(path)
    return times if times and max(times[-2:]) < time.time_ns() - SETTLED_NS else None


def _settings(path: Path, sections: list[str]) -> dict[str, Any]:
    try:
        values = dvc_yaml.parse(path.read_text(encoding="utf-8"))
        return {section: values.get(section) for section in sections}
    except (OSError, ValueError, AttributeError) as error:  # removed, or half saved, while the stage runs
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read any more ({reason}); mend it and run the stage again") from None
