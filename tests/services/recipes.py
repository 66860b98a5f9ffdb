"""The commands of docs/REMOTE.md, as a reader would type them: the tests run these and no others."""

import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "REMOTE.md"


def recipe(title: str, names: Mapping[str, str], block: int = 0) -> str:
    """Return the commands of a section's block, with what is the reader's own put in; every name has to stand there."""
    sections = re.split(r"(?m)^## ", PAGE.read_text(encoding="utf-8"))
    section = next(section for section in sections if section.startswith(f"{title}\n"))
    commands = str(re.findall(r"(?ms)^```\n(.*?)^```$", section)[block])
    for name in sorted(names, key=len, reverse=True):
        assert name in commands, f"{name} does not stand in {title}"
        commands = commands.replace(name, names[name])
    return commands
