import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages.fetch", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DVC_STAGE": "fetch"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["fetch"] = {"source": "source.txt", "sha256": None}
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
    assert len(list((project / "data").iterdir())) == 1


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
