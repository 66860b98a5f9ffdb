"""Which files a setting names, in which order: one file, all of a folder, or those that match a pattern."""

import difflib
import glob
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from gptmodel.data.unpack import is_hidden, is_packed
from gptmodel.errors import ConfigError, DataError
from gptmodel.project.layout import WORDS, Layout, local_path

MOST_FILES = 100_000
"""DVC looks at every file of a folder whenever it looks for changes."""


@dataclass(frozen=True)
class Source:
    """The files that a setting names, in the order in which they are read."""

    shown: str
    """What errors call the file, or the folder that holds the files."""
    path: Path
    """The file, or that folder."""
    where: Path | None
    """The same as the setting has it, maybe from the project's folder on: what DVC watches. None for a download."""
    names: tuple[str, ...]
    """Names of the files below the folder; of one file, its own."""
    is_folder: bool = False
    hidden: tuple[str, ...] = ()
    """Names below the folder that were passed over."""

    @property
    def is_plain(self) -> bool:
        """Whether this is one file that is taken as it is, whatever its bytes are."""
        return not self.is_folder and not is_packed(self.path.name)

    def file(self, name: str) -> tuple[Path, str]:
        """Return where a file is, and what errors call it."""
        return (self.path / name, f"{self.shown}/{name}") if self.is_folder else (self.path, self.shown)


def local_source(setting: str, where: Path, project: Layout) -> Source:
    """Return the files of a setting: `where` it leads, from the project's folder on. DataError names what is wrong."""
    root, path = project.root, project.root / where
    try:
        if any(_is_same_place(path, link) for link in (project.source, project.val_source, project.init_from)):
            raise DataError(f"{setting}: is written by fetch; fetch.source has to name another file")
        if path.is_dir():
            source = _folder(setting, path, where)
        elif glob.has_magic(str(where)) and not os.path.lexists(path):
            source = _pattern(setting, where, root)
        else:
            path.stat()
            if not path.is_file():  # would be waited for, or read, without an end
                raise DataError(f"{setting}: is a pipe, a device or a socket; fetch.source has to name a text file")
            return Source(setting, path, where, (path.name,))
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise _unreadable(setting, path, error) from None
    if Path(os.path.realpath(project.text)).is_relative_to(os.path.realpath(source.path)):
        place = "data/input.txt, which fetch writes, is below the same folder"
        raise DataError(f"{setting}: {place}; put the texts into a folder of their own, such as texts/")
    return source


def val_path(val_source: str, root: Path) -> Path:
    """Return where `prepare.val_source` leads, a relative path from `root` on; DataError where there is no file."""
    where = local_path(val_source)
    if where is None or not (root / where).is_file():
        raise DataError(f"{val_source}: {_instead(where, root)}; prepare.val_source has to name a text file")
    return where


def model_path(init_from: str, root: Path) -> Path:
    """Return the file that `train.init_from` names, from the project's folder `root` on.

    Raises ConfigError where there is none, and for the model that the training itself writes: DVC removes it first.
    """
    setting, where = f"train.init_from = {init_from}", local_path(init_from)
    own = Layout(root).model
    if where is not None and os.path.realpath(root / where) == os.path.realpath(own):
        copy = f"`cp {Layout().model} start.pth`, and set train.init_from to start.pth"
        raise ConfigError(f"{setting}: is what the training itself writes; {copy}")
    if where is None or not (root / where).is_file():
        raise ConfigError(f"{setting}: {_instead(where, root)}; name a model.pth that is there, or set it to null")
    return root / where


def _instead(where: Path | None, root: Path) -> str:
    """Return what is found where a file has to be."""
    return "is a folder" if where is not None and (root / where).is_dir() else "no such file"


def notes_on(source: Source) -> list[str]:
    """Return what a person should know of the names of the files, a line each."""
    twins = defaultdict(list)
    for name in source.names:
        twins[name.casefold()].append(name)
    return [
        f"{source.shown}: {' and '.join(names)} differ in case only; a disk that ignores case holds one of them, "
        "so that the text is another there"
        for names in twins.values()
        if len(names) > 1
    ]


def _folder(setting: str, folder: Path, where: Path) -> Source:
    """Return all files below a folder but hidden ones, and no folder that a link leads to."""
    names, hidden = [], []
    for parent, inner, files in _walk(folder, setting):
        for name in (*inner, *files):
            below = (parent / name).relative_to(folder).as_posix()
            if is_hidden(name):
                hidden.append(below)
            elif name in files or (parent / name).is_symlink():
                names.append(below)
        inner[:] = [name for name in inner if not is_hidden(name)]
    shown = setting.rstrip("/") or "/"
    if not names:
        raise DataError(f"{setting}: holds no file; put the texts there, or let fetch.source name another folder")
    return _checked(Source(shown, folder, where, tuple(sorted(names)), True, tuple(sorted(hidden))))


def _pattern(setting: str, where: Path, root: Path) -> Source:
    """Return the files that match a pattern, which is watched as the folder before its first wildcard."""
    fixed = Path(*takewhile(lambda part: not glob.has_magic(part), where.parts))
    folder, pattern = root / fixed, Path(*where.parts[len(fixed.parts) :])
    shown = setting[: next(at for at, sign in enumerate(setting) if sign in "*?[")].rpartition("/")[0] or "."
    matches = glob.glob(str(pattern), root_dir=folder, recursive=True)  # noqa: PTH207  # Path.glob takes hidden ones
    names = sorted(Path(name).as_posix() for name in matches if not (folder / name).is_dir())
    if not names:
        raise DataError(f"{setting}: matches no file; check fetch.source (folders that match are not looked into)")
    for _ in _walk(folder, shown):
        pass
    return _checked(Source(shown, folder, fixed, tuple(names), True))


def _walk(folder: Path, shown: str) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Go through a folder as DVC will; DataError for one that it would take very long for."""

    def fail(error: OSError) -> None:
        raise error

    count = 0
    for parent, inner, files in os.walk(folder, onerror=fail):
        count += len(files)
        if count > MOST_FILES:
            raise DataError(
                f"{shown}: holds more than {MOST_FILES:,} files, all of which DVC would look at for changes; "
                "put the texts into a folder of their own, or into one .zip"
            )
        yield Path(parent), inner, files


def _is_same_place(path: Path, other: Path) -> bool:
    """Whether two paths are one, whatever folders they go through; a link is not what it leads to."""
    return path.name == other.name and os.path.realpath(path.parent) == os.path.realpath(other.parent)


def _checked(source: Source) -> Source:
    """Return a source each of whose files can be read to an end, and is in its folder."""
    inside = os.path.realpath(source.path)
    for name in source.names:
        path, shown = source.file(name)
        try:
            shown.encode()
        except UnicodeEncodeError:
            raise DataError(f"{source.shown}: the name of the file {name!r} is not UTF-8; rename it") from None
        for parent in PurePosixPath(name).parents[:-1]:  # a pattern goes through links, DVC does not
            if (source.path / parent).is_symlink():
                raise _link(source.file(str(parent))[1], "to a folder")
        if path.is_symlink():
            leads = os.path.realpath(path)
            if not os.path.lexists(leads) or path.is_dir() or not Path(leads).is_relative_to(inside):
                what = "to a folder" if path.is_dir() else "out of the folder" if os.path.lexists(leads) else "nowhere"
                raise _link(shown, what)
        if not path.is_file():
            raise DataError(f"{shown}: is a pipe, a device or a socket; take it out of the folder")
    return source


def _link(shown: str, leads: str) -> DataError:
    return DataError(f"{shown}: is a link that leads {leads}; put the text itself there, or take it away")


def _unreadable(setting: str, path: Path, error: OSError | ValueError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    name = Path(error.filename) if isinstance(error, OSError) and error.filename else path
    where = "" if setting == str(name) else f" ({os.path.normpath(name)})"
    near = difflib.get_close_matches(setting, WORDS, n=1)
    mend = f"did you mean {near[0]}?" if near else "fetch.source has to name a text file or a folder"
    return DataError(f"{setting}: cannot be read: {reason}{where}; {mend}")
