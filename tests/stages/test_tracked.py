"""What a stage hands to the tracker holds nothing that lets somebody in."""

from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, new_project

pytestmark = pytest.mark.thorough


def test_a_training_leaves_no_password_of_the_texts_address(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    settings = ("-S", "fetch.source=https://user:secret@example.invalid/x.txt", "-S", f"fetch.sha256={'a' * 64}")
    attempt = project.succeed("train", *settings, injuries=JOURNAL_ONLY)
    assert "secret" not in attempt.output + attempt.error
    (journal,) = project.journals
    assert journal.events_file.read_text(encoding="utf-8").count("https://example.invalid/x.txt") == 2
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"secret" in path.read_bytes()] == []
