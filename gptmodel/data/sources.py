"""Where the text comes from: the 38 plays, local files, a URL, or the user's own file, which is never touched."""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from gptmodel.address import without_password
from gptmodel.data.documents import Document, Reading
from gptmodel.data.download import Part, download, remove_parts
from gptmodel.data.input_text import (
    FetchedText,
    is_text,
    note_text,
    read_chunks,
    record_of,
    refuse_foreign,
    single,
    write_text,
)
from gptmodel.data.local_files import Source, local_source, model_path, val_path
from gptmodel.data.manifest import write_manifest
from gptmodel.data.shakespeare import SHAKESPEARE_SHA256, shakespeare
from gptmodel.data.unpack import is_packed, readable
from gptmodel.errors import DataError
from gptmodel.fetch_params import FetchParams
from gptmodel.files import atomic_write, digest
from gptmodel.project.inputs import text_elsewhere, text_in_lock
from gptmodel.project.layout import Layout, leads_to_files, local_path, source_path
from gptmodel.wheel import Progress


@dataclass(frozen=True, kw_only=True)
class FetchReport:
    """What the text is, and whether it had to be written; `source` is without its password."""

    source: str
    sha256: str
    bytes: int
    documents: int
    written: bool
    unwatched: tuple[str, ...]
    """The sources whose local files may change without DVC seeing it."""
    notes: tuple[str, ...] = ()
    """What a person should know of the source, a line each."""


def fetch_text(
    params: FetchParams,
    layout: Layout,
    root: Path,
    on_progress: Progress,
    val_source: str | None = None,
    init_from: str | None = None,
) -> FetchReport:
    """Put the text of fetch.source in its place, and beside it what DVC has to know of the source. Raises DataError.

    A text that already is the source's is left alone, and one that no fetch wrote is refused before a download. `root`
    is the project's folder, where paths start. An experiment in a folder of its own copies the text from there, if it
    is what is asked for. `val_source` is prepare's and `init_from` is train's: both are noted for DVC only.
    """
    target = layout.text
    others = [(layout.init_from, _init_path(init_from, root), init_from)]
    try:
        others.append((layout.val_source, None if val_source is None else val_path(val_source, root), val_source))
        text, watched = _fetched(params, target, root, on_progress)
    except DataError:
        if text_in_lock(params.source, root) is not None:  # so a clone without the text trains on what was prepared
            _note_others(others, root)
        raise
    shown, size = without_password(params.source), target.stat().st_size
    if not size:
        raise DataError(f"{target if shown == 'own' else shown}: is empty; let fetch.source name a text")
    remove_parts(target)
    watches = {shown: _note_source(layout.source, watched, root, shown, text.sha256), **_note_others(others, root)}
    write_manifest(layout.metrics("fetch"), size, text.sha256, text.documents)
    return FetchReport(
        source=shown,
        sha256=text.sha256,
        bytes=size,
        documents=len(text.documents),
        written=text.written,
        unwatched=tuple(str(source) for source, is_watched in watches.items() if not is_watched),
        notes=text.notes,
    )


def _fetched(params: FetchParams, target: Path, root: Path, on_progress: Progress) -> tuple[FetchedText, Path | None]:
    """Put the text in its place, and return it with the path that is to be watched for changes, if there is one."""
    if target.is_dir():
        raise DataError(f"{target}: is a folder, but the text has to be a file; move the folder away")
    where, project = source_path(params.source), Layout(root)
    if params.source == "own":
        return _own(target, root), where
    if params.source == "shakespeare":
        return _plays(target, project.text, on_progress), where
    if where is None:
        return _from_url(params, target, project.text, on_progress), where
    try:
        source = local_source(params.source, where, project)
    except DataError as error:
        mend = None if leads_to_files(root / where) else text_elsewhere(params.source, root)
        raise DataError(f"{error}; {mend}" if mend else str(error)) from None
    return _from_files(params, source, target), source.where


def _own(target: Path, root: Path) -> FetchedText:
    """Leave the user's text alone, or copy it where an experiment has none in its folder yet."""
    project_text = Layout(root).text
    copied = not target.exists() and project_text.is_file()
    if copied:
        write_text(target, read_chunks(project_text), "own", digest(project_text))
    if not target.is_file():
        mend = text_elsewhere("own", root) or "put your text there, or change fetch.source"
        raise DataError(f"{target}: no such file, and fetch.source is own; {mend}")
    return single(target, target.name, digest(target), copied)


def _plays(target: Path, project_text: Path, on_progress: Progress) -> FetchedText:
    written = not is_text(target, SHAKESPEARE_SHA256)
    if written:
        refuse_foreign(target)
        is_near = is_text(project_text, SHAKESPEARE_SHA256)
        chunks = read_chunks(project_text) if is_near else iter([shakespeare(on_progress)])
        write_text(target, chunks, "shakespeare", SHAKESPEARE_SHA256)
        note_text(target, SHAKESPEARE_SHA256, "shakespeare")
    return single(target, "shakespeare", SHAKESPEARE_SHA256, written)


def _from_files(params: FetchParams, source: Source, target: Path) -> FetchedText:
    """Read all files twice: for what the text has to be, and if it is another one, to write it."""
    if source.is_folder and params.sha256 is not None:
        raise DataError(f"fetch.sha256: is that of one file, but {params.source} names several; set it to null")
    with readable(params.source):
        if params.sha256 is not None and (actual := digest(source.path)) != params.sha256:
            raise _mismatch(params.source, actual, params.sha256)
        if source.is_plain:
            text = single(source.path, source.path.name, digest(source.path), written=False)
        else:
            reading, sha256 = _reading(params, source), hashlib.sha256()
            for chunk in reading:
                sha256.update(chunk)
            text = FetchedText(sha256.hexdigest(), tuple(reading.documents), False, tuple(reading.notes()))
    if is_text(target, text.sha256):
        return text
    refuse_foreign(target)
    chunks = read_chunks(source.path) if source.is_plain else _reading(params, source)
    write_text(target, chunks, params.source, text.sha256)
    note_text(target, text.sha256, params.source)
    return replace(text, written=True)


def _from_url(params: FetchParams, target: Path, project_text: Path, on_progress: Progress) -> FetchedText:
    """Download a file, and unpack it if its name says that it is packed; not if that was done before, here or there."""
    shown, sha256 = without_password(params.source), str(params.sha256)
    name = PurePosixPath(urlsplit(params.source).path).name or "text"
    made_of = {"url_sha256": sha256, "separator": params.separator} if is_packed(name) else {}
    for place in (target, project_text):
        text = _unpacked_before(place, made_of) if made_of else single(place, name, sha256, written=False)
        if text is not None and is_text(place, text.sha256):
            if place == target:
                return text
            refuse_foreign(target)
            write_text(target, read_chunks(place), shown, text.sha256)
            note_text(target, text.sha256, shown, made_of, text.documents)
            return replace(text, written=True)
    refuse_foreign(target)
    part = Part.of(target, PurePosixPath(name).suffix if made_of else "", sha256)
    remove_parts(target, part)
    line = download(params.source, part, params.max_gb, on_progress)
    if (actual := digest(part.path)) != sha256:
        part.remove()
        raise _mismatch(shown, actual, sha256)
    text = _placed(params, target, part, name, made_of)
    return replace(text, notes=(*([line] if line else []), *text.notes))


def _placed(params: FetchParams, target: Path, part: Part, name: str, made_of: dict[str, str]) -> FetchedText:
    """Put what was downloaded in its place, unpacked if there is something that it is `made_of`."""
    shown = without_password(params.source)
    if made_of:
        reading = _reading(params, Source(shown, part.path, None, (name,)))
        sha256 = write_text(target, reading, shown)
        text = FetchedText(sha256, tuple(reading.documents), True, tuple(reading.notes()))
    else:
        refuse_foreign(target)  # again: a download takes time enough to put a text of one's own there
        part.path.replace(target)
        text = single(target, name, part.sha256, written=True)
    note_text(target, text.sha256, shown, made_of, text.documents)
    return text


def _unpacked_before(text: Path, made_of: dict[str, str]) -> FetchedText | None:
    """Return what was made of the same packed file before, as it was recorded beside the text."""
    record = record_of(text)
    with suppress(LookupError, TypeError):
        if {key: record[key] for key in made_of} == made_of:
            documents = tuple(Document(**entry) for entry in record["documents"])
            return FetchedText(record["sha256"], documents, written=False)
    return None


def _reading(params: FetchParams, source: Source) -> Reading:
    return Reading(source, params.separator, int(params.max_gb * 1e9))


def _init_path(init_from: str | None, root: Path) -> Path | None:
    """Return where train.init_from leads, from the project's folder on; ConfigError if there is no such model."""
    if init_from is None:
        return None
    model_path(init_from, root)
    return local_path(init_from)


def _note_others(others: Iterable[tuple[Path, Path | None, str | None]], root: Path) -> dict[str | None, bool]:
    """Note files that other stages take: where, the path, and the setting. Return for each whether DVC will see it."""
    return {named: _note_source(note, where, root, named or "none", "") for note, where, named in others}


def _note_source(note: Path, where: Path | None, root: Path, shown: str, sha256: str) -> bool:
    """Write the out by which DVC sees a source change; return whether it will.

    What a stage depends on cannot hang on a setting, but what it writes can: for local files, a link to the file or to
    the folder that they are in. DVC digests what a link leads to. So a changed file is a changed out, and fetch runs
    again. The link is replaced and never written through. It is relative where the setting is, so that a moved project
    keeps to its own files.
    """
    if where is None:
        atomic_write(note, f"{shown}\n".encode())
        return True
    note.parent.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    try:  # an absolute path stays as it is
        note.symlink_to(Path(os.path.relpath(os.path.realpath(root), os.path.realpath(note.parent))) / where)
    except (OSError, NotImplementedError):  # Windows lets some users only make links
        atomic_write(note, f"{shown}\nsha256 {sha256}\n".encode())
        return False
    return True


def _mismatch(source: str, actual: str, expected: str) -> DataError:
    return DataError(f"{source}: has the sha256 {actual} instead of {expected}; check fetch.sha256 and the source")
