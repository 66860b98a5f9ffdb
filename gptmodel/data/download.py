"""The bytes of a URL in a file: no limit on how long they take to come, but one on silence and one on their number.

A download that breaks off leaves what came. The next one goes on from there, if the server says that it is still the
same file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptmodel.address import without_password
from gptmodel.errors import DataError, GptModelError, Interrupted, missing_library
from gptmodel.files import CHUNK_BYTES, naming, read_mapping, write_json
from gptmodel.units import size as readable
from gptmodel.wheel import Progress

SILENCE_SECONDS = 30.0
"""How long an HTTP server may send nothing; the libraries of other protocols have limits of their own."""
HTTP = ("http://", "https://")
AS_IT_IS = {"Accept-Encoding": "identity"}  # not packed, so that Content-Length is that of the file
PARTIAL_CONTENT = 206


@dataclass(frozen=True)
class Part:
    """The file in which a download grows, and beside it what the file is that it is a part of."""

    path: Path
    sha256: str
    """The digest of the whole file, which is not checked here."""

    @classmethod
    def of(cls, target: Path, suffix: str, sha256: str) -> "Part":
        """Return the part of what will be the target, or be unpacked to it."""
        return cls(target.with_name(f".{target.name}.part{suffix}"), sha256)

    @property
    def size(self) -> int:
        """Bytes that came so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def belongs_to(self, version: str | None) -> bool:
        """Whether it is known to be of this version of the file."""
        return version is not None and read_mapping(self._record) == {"sha256": self.sha256, "version": version}

    def begin(self, version: str | None) -> None:
        """Forget what came, and note what will come."""
        self.remove()
        write_json(self._record, {"sha256": self.sha256, "version": version})

    def remove(self) -> None:
        """Forget what came."""
        for path in self.files:
            path.unlink(missing_ok=True)

    @property
    def files(self) -> tuple[Path, Path]:
        """Both files, whether they are there or not."""
        return self.path, self._record

    @property
    def _record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def remove_parts(target: Path, but: Part | None = None) -> None:
    """Forget what came of any URL for a target, but for one part: nobody asks for the others any more."""
    for path in target.parent.glob(f".{target.name}.part*"):
        if but is None or path not in but.files:
            with suppress(OSError):
                path.unlink()


def download(url: str, part: Part, max_gb: float, on_progress: Progress) -> str | None:
    """Complete the part; return a line if one of an earlier download was of no use.

    DataError if the URL cannot be read, falls silent or has more than `max_gb`.
    """
    shown, version, had = without_password(url), None, part.size
    try:
        import fsspec

        file = fsspec.open(url, "rb", **_limits_on_silence(url))
        total, version = _look(url, file)
        _refuse_larger(shown, total or 0, max_gb)
        wanted = had if part.belongs_to(version) and total is not None and had <= total else 0
        if wanted and wanted == total:
            return None
        with _opened(url, file, wanted, total, version) as (remote, start):
            if not start:
                part.begin(version)
            for size in _appended(remote, part):
                _refuse_larger(shown, size, max_gb)
                on_progress(size, total)
    except GptModelError:
        part.remove()
        raise
    except Interrupted:
        raise
    except Exception as error:  # fsspec has a library for each protocol, and each library errors of its own
        if isinstance(error, OSError) and error.filename == str(part.path):  # this disk's, and not the server's
            raise
        if missing := missing_library(error):
            raise DataError(f"{shown}: cannot be fetched: {missing}") from None
        reason = without_password(_reason(error).replace(url, shown))
        goes_on = f"run the same command again: it goes on behind the {readable(part.size)} that came"
        mend = goes_on if part.size and part.belongs_to(version) else "check fetch.source and the network"
        raise DataError(f"{shown}: cannot be fetched: {reason}; {mend}") from None
    anew = f"{shown}: began anew: the server does not go on behind the {readable(had)} that came before"
    return anew if had and not start else None


def _appended(remote: Any, part: Part) -> Iterator[int]:
    """Append a stream to the part, and yield the bytes that it has after each chunk."""
    with part.path.open("ab") as stream:
        while chunk := remote.read(CHUNK_BYTES):
            with naming(part.path):
                stream.write(chunk)
            yield stream.tell()
        stream.flush()
        os.fsync(stream.fileno())


def _look(url: str, file: Any) -> tuple[int | None, str | None]:
    """Return the bytes of a URL's file, and what changes with it; None for what the server does not say."""
    if not url.startswith(HTTP):
        return file.fs.size(file.path), str(file.fs.ukey(file.path))
    info = file.fs.info(file.path)
    tag = str(info.get("ETag", ""))
    return info.get("size"), tag if tag.startswith('"') else info.get("Last-Modified")  # W/"..." may be of other bytes


@contextmanager
def _opened(url: str, file: Any, start: int, total: int | None, version: str | None) -> Iterator[tuple[Any, int]]:
    """Give a stream of a URL from byte `start` on, or from its first one, and the byte that it begins with."""
    is_http = url.startswith(HTTP)
    headers = AS_IT_IS | {"Range": f"bytes={start}-", "If-Range": str(version)}
    behind = {"headers": headers, "size": total} if is_http and start else {}  # with a size, it does not look again
    with file.fs.open(file.path, "rb", **behind) as remote:
        if is_http:
            content_range = remote.r.headers.get("Content-Range", "") if remote.r.status == PARTIAL_CONTENT else ""
            yield remote, start if content_range.startswith(f"bytes {start}-") else 0
        else:
            remote.seek(start)
            yield remote, start


def _limits_on_silence(url: str) -> dict[str, Any]:
    """Return what fsspec has to be told so that a long HTTP download comes in one stream, and a silent one ends."""
    if not url.startswith(HTTP):
        return {}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(
        total=None, connect=SILENCE_SECONDS, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS
    )
    return {"block_size": 0, "client_kwargs": {"timeout": timeout}, "headers": AS_IT_IS, "skip_instance_cache": True}


def _refuse_larger(shown: str, size: int, max_gb: float) -> None:
    most = int(max_gb * 1e9)
    if size > most:
        raise DataError(
            f"{shown}: has more than {most:,} bytes, the limit that fetch.max_gb sets; "
            "raise fetch.max_gb if the file is as large as that"
        )


def _reason(error: BaseException) -> str:
    """Return an error in words, or what it came of: silence, and what fsspec calls a missing file whatever it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return f"nothing came for {SILENCE_SECONDS:g} seconds"
        cause = cause.__cause__
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if status := getattr(error, "status", None):
        return f"the server says {status} {getattr(error, 'message', '')}".rstrip()
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
