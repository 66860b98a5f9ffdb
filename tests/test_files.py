"""Files are whole or absent, also where two processes write the same one, or a killed one left a part."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from gptmodel.files import atomic_write, atomic_writer, remove_leftovers, whole_folder


def test_what_killed_writers_left_is_removed_and_what_is_being_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    left = tmp_path / ".model.pth.abc.tmp"
    left.write_bytes(b"half of it")
    with atomic_writer(path) as stream:
        stream.write(b"all of it")
        remove_leftovers(path)
    assert path.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")
    with suppress(ZeroDivisionError), atomic_writer(path) as stream:
        stream.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_rights_are_those_of_anything_new_and_the_umask_is_never_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the whole process's: what another thread makes at that moment would be open to all."""
    mask = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda _: pytest.fail("changed"))
            atomic_write(tmp_path / "file", b"")
            with whole_folder(tmp_path / "folder"):
                pass
    finally:
        os.umask(mask)
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "folder")]
    assert rights == [0o640, 0o750]
