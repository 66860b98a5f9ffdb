"""A stage's inputs, hashed at its start and its end: DVC hashes them afterwards only, and would record a false link."""

import hashlib
from pathlib import Path
from typing import Any

from gptmodel.errors import ConfigError, DataError
from gptmodel.files import digest
from gptmodel.project import dvc_yaml
from gptmodel.project.layout import Layout

PIPELINE_FILE = Path("dvc.yaml")


class Inputs:
    """What dvc.yaml names for a stage, as it was when the stage began; nothing outside a project with a dvc.yaml."""

    def __init__(self, stage: str, params_file: Path) -> None:
        described: dict[str, Any] = {}
        if PIPELINE_FILE.is_file():
            described = dvc_yaml.parse(PIPELINE_FILE.read_text(encoding="utf-8"))["stages"][stage]
        self.stage, self.params_file = stage, params_file
        self.sections = described.get("params", [])
        self.files = _digests(described.get("deps", []))
        self.settings = _settings(params_file, self.sections)

    def check(self) -> None:
        """Raise an error if anything changed meanwhile; to be called before a result is written."""
        for path, found in _digests(list(self.files)).items():
            if found != self.files[path]:
                raise DataError(f"{path}: changed while {self.stage} ran; run it again")
        for section, values in _settings(self.params_file, self.sections).items():
            if values != self.settings[section]:
                raise ConfigError(f"{self.params_file}: section {section} changed while {self.stage} ran; run it again")


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


def _settings(path: Path, sections: list[str]) -> dict[str, Any]:
    values = dvc_yaml.parse(path.read_text(encoding="utf-8"))
    return {section: values.get(section) for section in sections}
