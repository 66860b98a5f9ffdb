"""DVC's configuration, as DVC itself reads it: of the project, of the user and of the machine."""

from pathlib import Path

import pytest
from dvc.config import Config  # type: ignore[import-untyped]

from gptmodel.project.dvc_config import cache_file, cache_folder, dvc_setting, is_set


def test_the_local_file_counts_first(tmp_path: Path) -> None:
    assert dvc_setting(tmp_path, "cache", "dir") is None
    assert cache_folder(tmp_path) == tmp_path / ".dvc" / "cache"
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "[core]\n    autostage = false\n['remote \"x\"']\n    url = a%20b\n[cache]\n    dir = /a\n"
    )
    assert dvc_setting(tmp_path, "cache", "dir") == "/a"
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\n    dir = /b\n")
    assert dvc_setting(tmp_path, "cache", "dir") == "/b"
    assert dvc_setting(tmp_path, "core", "autostage") == "false"
    assert not is_set(tmp_path, "core", "autostage")


def test_a_cache_that_a_user_or_a_machine_has_for_all_projects_is_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level, folder in (("SYSTEM", "/of/machine"), ("GLOBAL", "/of/user")):
        (tmp_path / level).mkdir()
        monkeypatch.setenv(f"DVC_{level}_CONFIG_DIR", str(tmp_path / level))
        (tmp_path / level / "config").write_text(f"[cache]\n    dir = {folder}\n[core]\n    no_scm = True\n")
        assert cache_file(tmp_path, "ab" * 16) == Path(folder) / "files" / "md5" / "ab" / ("ab" * 15)
        assert Config(str(tmp_path / ".dvc"))["cache"]["dir"] == folder
    assert is_set(tmp_path, "core", "no_scm")


def test_it_is_where_dvc_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in ("SYSTEM", "GLOBAL"):
        monkeypatch.delenv(f"DVC_{level}_CONFIG_DIR", raising=False)
    read: list[str] = []

    def remember(path: Path, encoding: str) -> str:
        assert encoding == "utf-8"
        read.append(str(path))
        return ""

    monkeypatch.setattr(Path, "read_text", remember)
    assert dvc_setting(tmp_path, "cache", "dir") is None
    files = Config(str(tmp_path / ".dvc")).files
    assert read == [files[level] for level in ("local", "repo", "global", "system")]
