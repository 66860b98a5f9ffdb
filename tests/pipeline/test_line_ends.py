"""A clone has the same bytes whatever git is told of line ends: DVC compares the files of the stages."""

from pathlib import Path

from pipeline_helpers import Project


def test_a_clone_with_windows_line_ends_has_the_committed_bytes(origin: Project, tmp_path: Path) -> None:
    origin.git("-c", "core.autocrlf=true", "clone", "--quiet", ".", str(tmp_path / "clone"))
    names = origin.git("ls-files").splitlines()
    assert "gptmodel/config.py" in names
    changed = [name for name in names if (tmp_path / "clone" / name).read_bytes() != (origin.root / name).read_bytes()]
    assert changed == []
