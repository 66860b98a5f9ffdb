import gzip
import hashlib
import os
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gptmodel.data import sources
from gptmodel.data.download import Part
from gptmodel.data.sources import FetchReport, fetch_text
from gptmodel.errors import DataError
from gptmodel.fetch_params import FetchParams
from gptmodel.files import read_json
from gptmodel.project.layout import Layout

OTHER = "0" * 64


def fetch(source: str, sha256: str | None, target: Path, root: Path | None = None) -> FetchReport:
    """Fetch a text into the project that `target` is in, or in a folder outside the project at `root`."""
    layout = Layout(target.parent.parent)
    params = FetchParams.model_validate(FetchParams.defaults() | {"source": source, "sha256": sha256})
    return fetch_text(params, layout, root or layout.root, lambda _received, _total: None)


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


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
    monkeypatch.setattr(sources, "download", refuse)
    monkeypatch.setattr(sources, "read_chunks", refuse)


def test_a_local_file_is_copied_and_recorded(source: Path, target: Path) -> None:
    report = fetch(str(source), None, target)
    assert target.read_bytes() == source.read_bytes()
    assert (report.sha256, report.bytes, report.written) == (sha256(source.read_bytes()), 2_200_000, True)
    assert read_json(target.with_name(".fetched.json")) == {"sha256": report.sha256, "source": str(source)}
    assert names(target) == {"input.txt", ".fetched.json", "fetch.source", "prepare.val_source", "train.init_from"}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_digest_of_a_source_is_checked(source: Path, target: Path, scheme: str) -> None:
    right = sha256(source.read_bytes())
    with pytest.raises(DataError) as caught:
        fetch(f"{scheme}{source}", OTHER, target)
    assert right in str(caught.value)
    assert OTHER in str(caught.value)
    assert not target.exists()
    assert fetch(f"{scheme}{source}", right, target).written
    assert target.read_bytes() == source.read_bytes()


def test_a_wrong_digest_leaves_the_text_that_was_fetched_before(source: Path, target: Path) -> None:
    fetch(str(source), None, target)
    before = {path: path.read_bytes() for path in target.parent.iterdir()}
    with pytest.raises(DataError, match="sha256"):
        fetch(f"file://{source}", OTHER, target)
    assert {path: path.read_bytes() for path in target.parent.iterdir()} == before


def test_another_source_replaces_a_fetched_text(source: Path, target: Path, tmp_path: Path) -> None:
    fetch(str(source), None, target)
    (tmp_path / "other.txt").write_bytes(b"other")
    assert fetch(str(tmp_path / "other.txt"), None, target).written
    assert target.read_bytes() == b"other"
    assert fetch(str(source), None, target).written


def test_the_text_of_the_source_is_left_alone(source: Path, target: Path, no_download: None) -> None:
    target.parent.mkdir()
    target.write_bytes(source.read_bytes())
    os.utime(target, (1, 1))
    assert not fetch(str(source), None, target).written
    assert not fetch("https://example.invalid/x", sha256(source.read_bytes()), target).written
    assert not fetch(str(target), None, target).written
    assert target.stat().st_mtime == 1
    assert names(target) == {"input.txt", "fetch.source", "prepare.val_source", "train.init_from"}


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
            fetch(str(source) if name == "local" else name, OTHER if "://" in name else None, target)
        assert target.read_bytes() == b"my own text"


def test_a_text_overwritten_after_a_fetch_is_the_users_own(source: Path, target: Path) -> None:
    fetch(str(source), None, target)
    target.write_bytes(b"my own text")
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch(str(source), None, target)
    assert target.read_bytes() == b"my own text"


def test_a_text_put_there_during_a_download_is_kept(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_url: object, part: Part, *_: object) -> None:
        part.begin(None)
        part.path.write_bytes(source.read_bytes())
        target.write_bytes(b"my own text")

    monkeypatch.setattr(sources, "download", slow)
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch("https://example.invalid/x", sha256(source.read_bytes()), target)
    assert target.read_bytes() == b"my own text"


def test_links_and_folders_at_the_target_are_kept(source: Path, target: Path, tmp_path: Path) -> None:
    target.parent.mkdir()
    target.symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch(str(source), None, target)
    (tmp_path / "nowhere.txt").write_bytes(b"mine")
    with pytest.raises(DataError, match="was not written by fetch"):
        fetch(str(source), None, target)
    assert (tmp_path / "nowhere.txt").read_bytes() == b"mine"
    target.unlink()
    target.mkdir()
    for name in (str(source), "own", "shakespeare"):
        with pytest.raises(DataError, match="is a folder"):
            fetch(name, None, target)


@pytest.mark.parametrize("source", ["own", "my.txt", "texts", "texts/*.txt"])
def test_a_clone_without_the_text_gets_what_train_depends_on(target: Path, source: str) -> None:
    """DVC takes what was prepared elsewhere from its remote; these two are neither there nor in git."""
    out = "{path: data/input.txt, hash: md5, md5: 0123456789abcdef0123456789abcdef, size: 5}"
    stage = f"{{cmd: a, params: {{params.yaml: {{fetch: {{source: '{source}'}}}}}}, outs: [{out}]}}"
    lock = target.parent.parent / "dvc.lock"
    lock.write_text(f"schema: '2.0'\nstages: {{fetch: {stage}}}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"--allow-missing` goes on without it; or put .* the md5 0123456789"):
        fetch(source, None, target)
    assert names(target) == {"prepare.val_source", "train.init_from"}
    (target.parent / "train.init_from").unlink()
    layout, params = Layout(target.parent.parent), FetchParams.model_validate(FetchParams.defaults())
    params = params.model_copy(update={"source": source})
    with pytest.raises(DataError, match=r"^val\.txt: no such file"):
        fetch_text(params, layout, layout.root, lambda _received, _total: None, "val.txt")
    assert "train.init_from" in names(target)


def test_own_only_looks_at_the_text(target: Path) -> None:
    with pytest.raises(DataError, match=r"input\.txt: no such file, and fetch.source is own; put your text there"):
        fetch("own", None, target)
    assert not target.parent.exists()
    target.parent.mkdir()
    target.write_bytes(b"my own text")
    report = fetch("own", None, target)
    assert (report.sha256, report.bytes, report.written) == (sha256(b"my own text"), 11, False)
    assert names(target) == {"input.txt", "fetch.source", "prepare.val_source", "train.init_from"}


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("name", ["none.txt", "none/", "a\0b", "file:///none/none.txt", "foo://x/y", "http"])
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, target: Path, name: str) -> None:
    source = f"http://127.0.0.1:{closed_port()}/x.txt" if name == "http" else name
    with pytest.raises(DataError, match=r"cannot be (read|fetched)") as caught:
        fetch(source, OTHER if "://" in source else None, target)
    assert str(caught.value).startswith(source)
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
        fetch(source, OTHER if scheme else None, target)
    assert str(e.value).startswith(f"{source}: ")
    assert "\n" not in str(e.value)
    assert not target.exists()


@pytest.mark.parametrize("name", ["own", "URL"])
def test_an_experiment_in_a_folder_of_its_own_takes_the_text_of_the_project(tmp_path: Path, name: str) -> None:
    root = tmp_path / "project"
    text = root / "data" / "input.txt"
    text.parent.mkdir(parents=True)
    text.write_bytes(b"the project's text")
    target = tmp_path / "experiment" / "data" / "input.txt"
    # the URL cannot be read: the text comes from the project
    source = "own" if name == "own" else f"http://127.0.0.1:{closed_port()}/text.txt"
    report = fetch(source, None if name == "own" else sha256(text.read_bytes()), target, root)
    assert report.written
    assert target.read_bytes() == text.read_bytes()
    assert not fetch(source, None if name == "own" else report.sha256, target, root).written


@pytest.mark.parametrize(
    "source", ["../my text.txt", "./a/../../my text.txt", "~/my text.txt", "file://../my text.txt"]
)
@pytest.mark.parametrize("place", [".", "tmp/an experiment"])
def test_a_path_starts_at_the_project_or_at_home_wherever_fetch_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, place: str
) -> None:
    """And the link beside the text leads there, so that DVC sees the file change."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir("/")
    root, mine = tmp_path / "project", tmp_path / "my text.txt"
    (root / "a").mkdir(parents=True)
    mine.write_bytes(b"mine")
    digest = sha256(b"mine") if "://" in source else None
    target = root / place / "data" / "input.txt"
    assert not fetch(source, digest, target, root).unwatched
    assert target.read_bytes() == b"mine"
    link = target.with_name("fetch.source")
    assert link.is_symlink()
    assert link.samefile(mine)
    assert link.readlink().is_absolute() == source.startswith("~")


def test_a_moved_project_keeps_to_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "one" / "texts").mkdir(parents=True)
    (tmp_path / "one" / "texts" / "a.txt").write_bytes(b"mine")
    fetch("texts/a.txt", None, tmp_path / "one" / "data" / "input.txt")
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    assert (tmp_path / "two" / "data" / "fetch.source").samefile(tmp_path / "two" / "texts" / "a.txt")


@pytest.mark.parametrize("after", ["other.txt", "own", "URL"])
def test_the_file_of_the_user_is_never_written_through_the_link(
    source: Path, target: Path, tmp_path: Path, after: str
) -> None:
    source.chmod(0o640)
    before = source.read_bytes(), source.stat().st_mtime_ns, source.stat().st_mode
    fetch(str(source), None, target)
    (tmp_path / "other.txt").write_bytes(b"other")
    with serving(tmp_path / "other.txt") as port:
        name = {"other.txt": str(tmp_path / "other.txt"), "own": "own", "URL": f"http://127.0.0.1:{port}/x"}[after]
        fetch(name, sha256(b"other") if after == "URL" else None, target)
    assert (source.read_bytes(), source.stat().st_mtime_ns, source.stat().st_mode) == before
    note = target.with_name("fetch.source")
    if after == "other.txt":
        assert note.samefile(tmp_path / "other.txt")
    else:
        assert not note.is_symlink()
        assert note.read_text(encoding="utf-8") == f"{name}\n"


def test_where_no_link_can_be_made_the_report_says_so(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    report = fetch(str(source), None, target)
    assert report.unwatched == (str(source),)
    assert target.read_bytes() == source.read_bytes()
    assert report.sha256 in target.with_name("fetch.source").read_text(encoding="utf-8")


def test_where_only_the_val_source_gets_no_link_the_report_names_it(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    target.parent.mkdir()
    target.write_bytes(b"mine")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    layout, params = (
        Layout(target.parent.parent),
        FetchParams.model_validate(FetchParams.defaults() | {"source": "own"}),
    )
    report = fetch_text(params, layout, layout.root, lambda _received, _total: None, val_source=str(source))
    assert (report.source, report.unwatched) == ("own", (str(source),))


@pytest.mark.parametrize("name", ["data/fetch.source", "data/../data/fetch.source", "link/prepare.val_source"])
def test_the_link_is_no_source(source: Path, target: Path, tmp_path: Path, name: str) -> None:
    fetch(str(source), None, target)
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(DataError, match=f"{name}: is written by fetch; fetch.source has to name another"):
        fetch(name, None, target)
    assert target.with_name("fetch.source").samefile(source)


def test_the_password_of_a_url_is_neither_told_nor_stored(source: Path, target: Path) -> None:
    """Where the source is wrong, where it needs a digest, where the text is another, and where all is well."""
    url = "http://user:secret@127.0.0.1:{port}/x.txt?token=secret"
    with serving(source) as port:
        right = url.format(port=port)
        told = []
        for address, expected in ((url.format(port=closed_port()), OTHER), (right, OTHER)):
            with pytest.raises(DataError) as caught:
                fetch(address, expected, target)
            told.append(str(caught.value))
        written = fetch(right, sha256(source.read_bytes()), target)
        told += [str(written), str(fetch(right, written.sha256, target))]
    assert written.written
    told.append(target.with_name(".fetched.json").read_text(encoding="utf-8"))
    for line in told:
        assert "secret" not in line
        assert "127.0.0.1" in line


def test_a_packed_file_at_a_url_is_unpacked_and_downloaded_once(target: Path, tmp_path: Path) -> None:
    """Its sha256 is that of the file; an experiment elsewhere takes what the project has of it."""
    packed = tmp_path / "some.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("b.txt", b"b")
        archive.writestr("a.txt", b"a")
    right = sha256(packed.read_bytes())
    with serving(packed) as port:
        url = f"http://127.0.0.1:{port}/texts/some.zip?x=1"
        with pytest.raises(DataError, match=f"has the sha256 {right} instead of {OTHER}"):
            fetch(url, OTHER, target)
        assert names(target) == set()
        report = fetch(url, right, target)
    assert (target.read_bytes(), report.documents, report.written) == (b"a\n\nb", 2, True)
    listed = read_json(Layout(tmp_path).metrics("fetch"))
    assert [document["name"] for document in listed["documents"]] == ["some.zip/a.txt", "some.zip/b.txt"]
    assert not fetch(url, right, target).written  # the server is gone
    assert read_json(Layout(tmp_path).metrics("fetch")) == listed
    elsewhere = tmp_path / "tmp" / "experiment" / "data" / "input.txt"
    assert fetch(url, right, elsewhere, tmp_path).written
    assert elsewhere.read_bytes() == target.read_bytes()
    assert names(target) == {"input.txt", ".fetched.json", "fetch.source", "prepare.val_source", "train.init_from"}


def test_what_a_packed_download_holds_that_is_no_utf8_is_to_be_converted_by_hand(target: Path, tmp_path: Path) -> None:
    """No command is proposed for a file that is gone."""
    packed = tmp_path / "some.txt.gz"
    for text in ("Zwölf Boxkämpfer".encode("latin-1"), "plain words".encode("utf-16-le")):
        packed.write_bytes(gzip.compress(text))
        with serving(packed) as port, pytest.raises(DataError) as caught:
            fetch(f"http://127.0.0.1:{port}/some.txt.gz", sha256(packed.read_bytes()), target)
        assert str(caught.value).endswith("; convert it, and let fetch.source name the converted file")


@pytest.mark.parametrize("after", ["a file", "another URL", "another URL that fails"])
def test_parts_of_other_urls_are_removed(source: Path, target: Path, after: str) -> None:
    target.parent.mkdir()
    for name in (".input.txt.part.gz", ".input.txt.part.gz.json", ".input.txt.part.zip"):
        target.with_name(name).write_bytes(b"half")
    with serving(source) as port:
        if after == "a file":
            fetch(str(source), None, target)
        elif after == "another URL":
            fetch(f"http://127.0.0.1:{port}/x.txt", sha256(source.read_bytes()), target)
        else:
            with pytest.raises(DataError):
                fetch(f"http://127.0.0.1:{closed_port()}/x.txt", OTHER, target)
    assert not [name for name in names(target) if "part" in name]


def test_a_folder_is_joined_listed_and_left_alone(target: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("b.txt", "a.txt"):
        (texts / name).write_text(name, encoding="utf-8")
    report = fetch("texts", None, target)
    assert target.read_bytes() == b"a.txt\n\nb.txt"
    assert (report.written, report.unwatched, report.documents) == (True, (), 2)
    assert target.with_name("fetch.source").samefile(texts)
    assert not fetch("texts", None, target).written
    assert fetch("texts/a*", None, target).written
    assert target.read_bytes() == b"a.txt"
    assert target.with_name("fetch.source").samefile(texts)
    assert {path.name for path in texts.iterdir()} == {"a.txt", "b.txt"}


def test_the_val_text_is_linked_so_that_dvc_sees_it_change(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_bytes(b"held out")
    layout = Layout(tmp_path)
    params = FetchParams.model_validate(FetchParams.defaults() | {"source": str(source)})
    fetch_text(params, layout, tmp_path, lambda _received, _total: None, "val.txt")
    assert layout.val_source.samefile(tmp_path / "val.txt")
    assert not layout.val_source.readlink().is_absolute()
    fetch_text(params, layout, tmp_path, lambda _received, _total: None)
    assert layout.val_source.read_bytes() == b"none\n"
    assert (tmp_path / "val.txt").read_bytes() == b"held out"


def test_files_that_change_while_they_are_read_are_noticed(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_bytes(b"a")
    refuse = sources.refuse_foreign

    def slow(path: Path) -> None:
        (texts / "a.txt").write_bytes(b"b")
        refuse(path)

    monkeypatch.setattr(sources, "refuse_foreign", slow)
    with pytest.raises(DataError, match="texts: changed while it was being read; run the same command again"):
        fetch("texts", None, target)
    assert not target.exists()


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
