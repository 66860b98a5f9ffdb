import hashlib
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml
from http_text import drip, hang, only_headers, server

from stages.download_progress import DownloadReporter

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DVC_STAGE": "fetch"}


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages.fetch", *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["fetch"] |= {"source": "source.txt", "sha256": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (tmp_path / "source.txt").write_bytes(b"a text\r\n")
    return tmp_path


def test_the_text_is_put_where_prepare_reads_it(project: Path) -> None:
    result = run(project)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert "data/input.txt: 8 bytes from source.txt, written" in result.stdout
    assert (project / "data" / "input.txt").read_bytes() == b"a text\r\n"
    assert "left as it is" in run(project).stdout


def test_out_sends_the_text_elsewhere(project: Path) -> None:
    assert run(project, "--out", "elsewhere").returncode == 0
    assert (project / "elsewhere" / "data" / "input.txt").is_file()
    assert not (project / "data").exists()


NAMES = ["two  spaces.txt", "第一\u3000章.txt", "a\nline's \\ end.txt", "a\ttab $(id).txt", "of\u2028two\x85more.txt"]


@pytest.mark.skipif(shutil.which("iconv") is None or shutil.which("bash") is None, reason="needs iconv and bash")
@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_converts_a_text_is_one_line_for_any_name(project: Path, name: str) -> None:
    (project / "texts").mkdir()
    (project / "texts" / name).write_bytes("Zwölf Boxkämpfer jagen Viktor".encode("latin-1"))
    result = run(project, "-S", "fetch.source=texts", LC_ALL="C.UTF-8")
    [command] = re.findall(r"`(.*)`", result.stderr)
    subprocess.run(["bash", "-c", command], check=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    assert [path.name for path in (project / "texts").iterdir()] == [name]
    assert run(project, "-S", "fetch.source=texts").returncode == 0


def test_a_users_own_text_is_refused_with_status_2_and_kept(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data" / "input.txt").write_bytes(b"my own text")
    for source in ("source.txt", "shakespeare"):
        result = run(project, "-S", f"fetch.source={source}")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("error: data/input.txt: ")
        assert "fetch.source to own" in result.stderr
        assert (project / "data" / "input.txt").read_bytes() == b"my own text"
    assert run(project, "-S", "fetch.source=own").returncode == 0
    assert (project / "data" / "input.txt").read_bytes() == b"my own text"
    assert {path.name for path in (project / "data").iterdir()} == {
        "input.txt",
        "fetch.source",
        "prepare.val_source",
        "train.init_from",
    }


def test_a_missing_source_is_one_line_and_status_2(project: Path) -> None:
    result = run(project, "-S", "fetch.source=none.txt")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "error: none.txt: cannot be read" in result.stderr
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["-S", f"fetch.sha256={'a' * 64}"],
        ["-S", "fetch.sha256=https://u:secret@h/x"],
        ["-S", "https://u:secret@h/x"],
    ],
    ids=len,
)
def test_a_password_in_the_address_is_not_told(project: Path, more: list[str]) -> None:
    result = run(project, "-S", "fetch.source=http://user:secret@127.0.0.1:9/x", *more)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "secret" not in result.stderr + result.stdout


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("behaviour", ["drips", "hangs"])
def test_a_signal_ends_a_download_at_once_and_leaves_no_half_file(
    project: Path, signum: int, status: int, behaviour: str
) -> None:
    asked = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        drip(handler, 600) if behaviour == "drips" else hang(handler)

    with server(answer) as url:
        command = [sys.executable, "-m", "stages.fetch", "-S", f"fetch.source={url}", "-S", f"fetch.sha256={'a' * 64}"]
        stopped = subprocess.Popen(command, cwd=project, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        assert asked.wait(60)
        stopped.send_signal(signum)
        message = stopped.communicate(timeout=10)[1]
    assert stopped.returncode == status, message
    assert message == ("stopped by SIGTERM\n" if signum == signal.SIGTERM else "")
    assert [path.name for path in project.rglob("*") if path.suffix == ".tmp" or path.name == "input.txt"] == []


def test_a_download_that_takes_long_shows_how_far_it_is(project: Path) -> None:
    with server(lambda handler: drip(handler, 35), head=lambda handler: only_headers(handler, 35)) as url:
        result = run(project, "-S", f"fetch.source={url}", "-S", f"fetch.sha256={'a' * 64}")
    line, error = result.stderr.splitlines()
    assert re.fullmatch(rf"downloading {url}: \d+ bytes of 35 bytes, \d+ bytes/s", line)
    assert "instead of aaaa" in error


@pytest.mark.parametrize(("progress", "lines"), [("lines", 3), ("none", 0)])
def test_a_long_download_is_a_line_now_and_then(
    progress: str, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, *(tenths / 10 for tenths in range(240))])
    monkeypatch.setattr("time.perf_counter", lambda: next(seconds))
    with closing(DownloadReporter("shakespeare", progress)) as reporter:
        for received in range(240):
            reporter(received << 10, None)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", lines)
    assert err.startswith("downloading shakespeare: 31 kB, 10 kB/s\n" if lines else "")


def test_an_experiment_says_that_the_text_has_changed_since_the_lock(project: Path, tmp_path: Path) -> None:
    """It runs in a folder of its own, with the dvc.lock it was queued with, and reads the text when it starts."""
    (project / "dvc.yaml").touch()
    run(project)
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    told = {}
    for text in (b"a text\r\n", b"another"):
        out = f"{{path: data/input.txt, hash: md5, md5: {hashlib.md5(text).hexdigest()}, size: 8}}"
        fetch = f"{{cmd: x, params: {{params.yaml: {{fetch: {{source: source.txt}}}}}}, outs: [{out}]}}"
        (folder / "dvc.lock").write_text(f"schema: '2.0'\nstages: {{fetch: {fetch}}}\n", encoding="utf-8")
        told[text] = run(folder, DVC_ROOT=str(project)).stderr
    assert told[b"a text\r\n"] == ""
    assert told[b"another"].startswith("note: the text at source.txt has changed since dvc.lock was written; ")
    assert told[b"another"].endswith("this experiment trains on it as it is now (sha256 572daaf798d8)\n")
