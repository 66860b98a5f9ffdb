"""What DVC's configuration says, of the project, of this user and of this machine; and where DVC's cache is.

It reads. It never calls DVC.
"""

import configparser
import os
import re
from collections.abc import Iterator
from pathlib import Path


def dvc_setting(root: Path, section: str, name: str) -> str | None:
    """Return a value of the configuration that holds for a project; None where nobody sets it."""
    for file in _files(root):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(re.sub(r"(?m)^\s+", "", file.read_text(encoding="utf-8")))
        except (OSError, ValueError, configparser.Error):
            continue
        if parser.has_option(section, name):
            return parser.get(section, name)
    return None


def is_set(root: Path, section: str, name: str) -> bool:
    """Tell whether a setting of DVC that is true or false is true; none of them is by default."""
    return (dvc_setting(root, section, name) or "").lower() == "true"


def cache_folder(root: Path) -> Path:
    """Return the folder of DVC's cache of the project."""
    return root / ".dvc" / (dvc_setting(root, "cache", "dir") or "cache")  # a path in .dvc/config starts there


def cache_file(root: Path, md5: str) -> Path:
    """Return where DVC's cache of the project keeps the content of this md5, if it has it."""
    return cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]


def _files(root: Path) -> Iterator[Path]:
    """Yield the files of the configuration, each before those that it overrides."""
    yield root / ".dvc" / "config.local"
    yield root / ".dvc" / "config"
    from platformdirs import site_config_dir, user_config_dir  # which takes as long as all else here

    for level, folder in (("GLOBAL", user_config_dir), ("SYSTEM", site_config_dir)):
        yield Path(os.environ.get(f"DVC_{level}_CONFIG_DIR") or folder("dvc", "iterative")) / "config"
