"""A download from a real server: long ones end well; silent, endless and too large ones end in words."""

import re
import sys
import tempfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fsspec.registry import _registry
from http_text import Behaviour, BrokenOff, drip, fall_silent, hang, only_headers, send_without_end, server

from gptmodel.data import download as module
from gptmodel.data.download import Part, download
from gptmodel.errors import DataError, Interrupted

SHA256 = "0" * 64


def fetched(url: str, max_gb: float = 1.0, folder: Path | None = None) -> tuple[bytes, list[tuple[int, int | None]]]:
    """Return what came, and what the observer was told; with a folder, what came stays there."""
    told: list[tuple[int, int | None]] = []
    with tempfile.TemporaryDirectory() as name:
        part = Part((folder or Path(name)) / "part", SHA256)
        download(url, part, max_gb, lambda received, total: told.append((received, total)))
        return part.path.read_bytes(), told


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


def test_it_says_why_nothing_can_be_fetched() -> None:
    """fsspec calls all of it a missing file."""
    mend = "; check fetch.source and the network"
    with server(lambda handler: handler.send_error(404), None) as url, pytest.raises(DataError) as refused:
        fetched(url)
    assert str(refused.value) == f"{url}: cannot be fetched: the server says 404 Not Found{mend}"
    with pytest.raises(DataError, match=r"fetched: ClientConnector\w*Error: Cannot connect to host 127.0.0.1:9 "):
        fetched("http://127.0.0.1:9/a.txt")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("answer", "head"), [(fall_silent, None), (hang, None), (hang, hang)])
def test_silence_has_a_limit(answer: Behaviour, head: Behaviour | None) -> None:
    with server(answer, head) as url, pytest.raises(DataError) as caught:
        fetched(url)
    reason = "cannot be fetched: nothing came for 1 seconds; check fetch.source and the network"
    assert str(caught.value) == f"{url}: {reason}"


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


CONTENT = bytes(range(256)) * 20_000
BROKEN = r"run the same command again: it goes on behind the \d+ [kM]?B that came$"


@pytest.mark.parametrize("tag", ['"v1"', None, 'W/"v1"'], ids=["a tag", "no tag", "a weak tag"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_goes_on_where_the_server_can(tmp_path: Path, tag: str | None, ranges: bool) -> None:
    source = BrokenOff(CONTENT, [2_000_000, 3_000_000], tag=tag, ranges=ranges)
    knows = tag == '"v1"'
    part = Part(tmp_path / "part", SHA256)
    with server(source.answer, source.head) as url:
        for _ in range(2):
            with pytest.raises(DataError, match=BROKEN if knows else "; check fetch.source and the network$"):
                download(url, part, 1.0, lambda _received, _total: None)
        told: list[int] = []
        line = download(url, part, 1.0, lambda received, _total: told.append(received))
    assert part.path.read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in source.asked if asked]
    assert len(starts) == (2 if knows else 0)
    if knows and ranges:
        assert 0 < starts[0] <= starts[1] <= 3_000_000
        assert told[0] > starts[1]
        assert line is None
    else:
        assert line is not None
        assert re.fullmatch(rf"{url}: began anew: the server does not go on behind the \d+ .B that came before", line)


@pytest.mark.parametrize("change", ["the file", "what is asked for"])
def test_a_part_of_another_file_is_of_no_use(tmp_path: Path, change: str) -> None:
    source = BrokenOff(CONTENT, [2_000_000], tag='"v1"')
    with server(source.answer, source.head) as url:
        with pytest.raises(DataError, match=BROKEN):
            download(url, Part(tmp_path / "part", SHA256), 1.0, lambda _received, _total: None)
        if change == "the file":
            source.content, source.tag = CONTENT[::-1], '"v2"'
        part = Part(tmp_path / "part", "1" * 64 if change == "what is asked for" else SHA256)
        assert "began anew" in str(download(url, part, 1.0, lambda _received, _total: None))
    assert part.path.read_bytes() == source.content
    assert source.asked == [None, None]


def test_a_download_that_was_complete_is_not_asked_for_again(tmp_path: Path) -> None:
    source = BrokenOff(CONTENT, [], tag='"v1"')
    part = Part(tmp_path / "part", SHA256)
    with server(source.answer, source.head) as url:
        for _ in range(2):
            assert download(url, part, 1.0, lambda _received, _total: None) is None
    assert source.asked == [None]


def test_a_text_of_another_protocol_goes_on_too(tmp_path: Path) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().pipe("/parts/text", CONTENT)
    part = Part(tmp_path / "part", SHA256)
    version = str(MemoryFileSystem().ukey("/parts/text"))
    part.begin(version)
    part.path.write_bytes(CONTENT[:1_000_000])
    told: list[int] = []
    assert download("memory://parts/text", part, 1.0, lambda received, _total: told.append(received)) is None
    assert part.path.read_bytes() == CONTENT
    assert told[0] > 1_000_000


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
