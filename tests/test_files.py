"""Files are whole or absent, also where two processes write the same one, or a killed one left a part."""

from contextlib import suppress
from pathlib import Path

from gptmodel.files import atomic_writer, remove_leftovers


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
