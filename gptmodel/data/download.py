"""The bytes of a URL: no limit on how long they take to come, but one on silence and one on their number."""

from collections.abc import Iterator
from typing import Any

from gptmodel.address import without_password
from gptmodel.errors import DataError, GptModelError, Interrupted
from gptmodel.files import CHUNK_BYTES
from gptmodel.wheel import Progress

SILENCE_SECONDS = 30.0
"""How long an HTTP server may send nothing; the libraries of other protocols have limits of their own."""


def download(url: str, max_gb: float, on_progress: Progress) -> Iterator[bytes]:
    """Yield the bytes of a URL in chunks; DataError if it cannot be read, falls silent or has more than `max_gb`."""
    most = int(max_gb * 1e9)
    try:
        import fsspec

        file = fsspec.open(url, "rb", **_limits_on_silence(url))
        size = file.fs.size(file.path)
        _refuse_larger(url, size or 0, most)
        received = 0
        with file as remote:
            while chunk := remote.read(CHUNK_BYTES):
                received += len(chunk)
                _refuse_larger(url, received, most)
                on_progress(received, size)
                yield chunk
    except (GptModelError, Interrupted):
        raise
    except Exception as error:  # fsspec has a library for each protocol, and each library errors of its own
        shown = without_password(url)
        reason = without_password(_reason(error).replace(url, shown))
        raise DataError(f"{shown}: cannot be fetched: {reason}; check fetch.source") from None


def _limits_on_silence(url: str) -> dict[str, Any]:
    """Return what fsspec has to be told so that a long HTTP download comes in one stream, and a silent one ends."""
    if not url.startswith(("http://", "https://")):
        return {}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(
        total=None, connect=SILENCE_SECONDS, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS
    )
    as_it_is = {"Accept-Encoding": "identity"}  # not packed, so that Content-Length is that of the file
    return {"block_size": 0, "client_kwargs": {"timeout": timeout}, "headers": as_it_is, "skip_instance_cache": True}


def _refuse_larger(url: str, size: int, most: int) -> None:
    if size > most:
        raise DataError(
            f"{without_password(url)}: has more than {most:,} bytes, the limit that fetch.max_gb sets; "
            "raise fetch.max_gb if the file is as large as that"
        )


def _reason(error: BaseException) -> str:
    """Return an error in words; silence is often only the cause of what a library raises in the end."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return f"nothing came for {SILENCE_SECONDS:g} seconds"
        cause = cause.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
