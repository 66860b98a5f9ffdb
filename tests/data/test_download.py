"""A download from a real server: long ones end well; silent, endless and too large ones end in words."""

import sys
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from fsspec.registry import _registry
from http_text import Behaviour, drip, fall_silent, hang, only_headers, send_without_end, server

from gptmodel.data import download as module
from gptmodel.data.download import download
from gptmodel.errors import DataError, Interrupted


def fetched(url: str, max_gb: float = 1.0) -> tuple[bytes, list[tuple[int, int | None]]]:
    """Return what came, and what the observer was told."""
    told: list[tuple[int, int | None]] = []
    content = b"".join(download(url, max_gb, lambda received, total: told.append((received, total))))
    return content, told


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 1.0)


@pytest.mark.usefixtures("short")
def test_there_is_no_limit_while_data_come_and_progress_is_told() -> None:
    with server(drip, head=lambda handler: only_headers(handler, 20)) as url:
        content, told = fetched(url)
    assert content == b"x" * 20
    assert told[-1] == (20, 20)
    assert len(told) > 5


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("answer", "head"), [(fall_silent, None), (hang, None), (hang, hang)])
def test_silence_has_a_limit(answer: Behaviour, head: Behaviour | None) -> None:
    with server(answer, head) as url, pytest.raises(DataError) as caught:
        fetched(url)
    assert str(caught.value) == f"{url}: cannot be fetched: nothing came for 1 seconds; check fetch.source"


def test_a_download_that_is_cut_off_is_an_error() -> None:
    def cut_off(handler: BaseHTTPRequestHandler) -> None:
        only_headers(handler, 20)
        handler.wfile.write(b"x")

    with server(cut_off) as url, pytest.raises(DataError, match="cannot be fetched: "):
        fetched(url)


@pytest.mark.parametrize("said", [True, False], ids=["a size that is said", "no end in sight"])
def test_the_size_has_a_limit_that_the_line_says_how_to_raise(said: bool) -> None:
    def refuse(_handler: BaseHTTPRequestHandler) -> None:
        raise AssertionError("read, though the size was known to be too large")

    length = 3_000_000_000 if said else None
    answer = refuse if said else send_without_end
    with server(answer, head=lambda handler: only_headers(handler, length)) as url, pytest.raises(DataError) as caught:
        fetched(url, max_gb=0.002)
    assert str(caught.value).startswith(f"{url}: has more than 2,000,000 bytes, the limit that fetch.max_gb sets")
    assert "raise fetch.max_gb" in str(caught.value)


def test_a_size_that_is_a_lie_does_not_lift_the_limit() -> None:
    lie = server(send_without_end, head=lambda handler: only_headers(handler, 10))
    with lie as url, pytest.raises(DataError, match="has more than 2,000,000 bytes"):
        fetched(url, max_gb=0.002)


def test_a_signal_is_not_mistaken_for_a_fault_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def stop(*_: object, **__: Any) -> None:
        raise Interrupted(15, "stopped by SIGTERM")

    monkeypatch.setattr(fsspec, "open", stop)
    with pytest.raises(Interrupted):
        fetched("https://example.invalid/x")


def test_a_library_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(DataError) as caught:
        fetched("s3://bucket/text.txt")
    mend = "s3fs is not installed: `pip install -r requirements-remote.txt`"
    assert str(caught.value) == f"s3://bucket/text.txt: cannot be fetched: {mend}"
