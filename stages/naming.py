"""What a tracked run is called: what differs from the commit that it began with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptmodel.errors import GptModelError
from gptmodel.project import dvc_yaml
from gptmodel.project.git import TAG_SECONDS, git
from gptmodel.units import setting

if TYPE_CHECKING:
    from gptmodel.config import Params

SECTIONS = ("prepare", "model", "train")
"""Whose settings make a model another one."""
MOST_CHANGES, MOST_CHARACTERS = 4, 60


def name_by_changes(folder: Path, params: "Params") -> str | None:
    """Return "position=rotary seed=2" where these settings differ from the committed ones; else "commit" and which.

    Of a DVC experiment, its baseline counts. None where git or the commit's params.yaml cannot tell.
    """
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or "HEAD"
    try:
        committed = dvc_yaml.parse(git(folder, "show", f"{commit}:./params.yaml", seconds=TAG_SECONDS))
        short = git(folder, "rev-parse", "--short", commit, seconds=TAG_SECONDS)
    except (GptModelError, ValueError):
        return None
    changes = [
        f"{key}={setting(value)}"
        for section in SECTIONS
        for key, value in getattr(params, section).model_dump(mode="json").items()
        if _committed(committed, section).get(key, value) != value
    ]
    if not changes:
        return f"commit {short}"
    counted = f"{len(changes)} changes: " if len(changes) > MOST_CHANGES else ""
    name = counted + " ".join(changes)
    return name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 3]}..."


def _committed(params: Any, section: str) -> dict[str, Any]:
    values = params.get(section) if isinstance(params, dict) else None
    return values if isinstance(values, dict) else {}
