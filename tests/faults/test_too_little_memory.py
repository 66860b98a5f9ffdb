"""Too little memory: refused before it is allocated where that can be known, else one line and the state is kept."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import ROOT
from http_text import BrokenOff, server
from projects import JOURNAL_ONLY, Project, new_project

BIG = ["-S", "train.batch_size=64", "-S", "model.n_embd=64", "-S", "model.block_size=64"]

WIDE = ["-S", "model.n_embd=1024"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


@pytest.mark.parametrize("sizes", [["n_embd=65536"], ["n_layer=65536", "n_embd=1024"]], ids=str)
def test_what_cannot_fit_is_refused_at_once(project: Project, sizes: list[str]) -> None:
    settings = [word for size in sizes for word in ("-S", f"model.{size}")]
    attempt = project.run("train", *settings, injuries=JOURNAL_ONLY)
    assert attempt.status == 2, attempt.error
    assert "of memory, and this machine has" in attempt.error.splitlines()[-1]
    assert "lower train.batch_size" in attempt.error.splitlines()[-1]
    assert attempt.seconds < 10
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    ("place", "call", "settings"),
    [
        ("gptmodel.training.run:TrainingRun.__init__", 1, WIDE),
        ("gptmodel.evaluation.loss:estimate_loss", 1, BIG),
        ("gptmodel.training.step:training_step", 3, BIG),
        ("gptmodel.training.snapshot:SnapshotStore.save", 3, BIG),
    ],
)
def test_memory_that_runs_out_is_one_line_and_keeps_the_state(
    project: Project, place: str, call: int, settings: list[str]
) -> None:
    injury = {"place": place, "call": call, "more": 1 << 20}
    attempt = project.run("train", *settings, injuries={**JOURNAL_ONLY, "limit_memory_inside": injury})
    assert attempt.status == 2, attempt.error
    assert "Traceback" not in attempt.error
    line = attempt.error.splitlines()[-1]
    assert line.startswith("error: out of memory")
    assert "lower train.batch_size" in line
    assert not project.model.exists()
    if call > 1:
        assert project.snapshots
        assert project.journals[0].last_status() == "FAILED"
        assert "continued from iteration" in project.succeed("train", *settings, injuries=JOURNAL_ONLY).error


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (["evaluate", "-S", "runtime.mlflow=false"], "gptmodel.evaluation.scores:score"),
        (
            ["sample", "-S", "sample.num_samples=60000", "--out", "elsewhere"],
            "gptmodel.sampling.generate:sample_pieces",
        ),
        (["plan"], "gptmodel.planning.measure:_iterations"),  # before it, the estimate may refuse
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_memory_that_runs_out_is_one_line_in_every_command(
    alone: Project, tmp_path: Path, command: list[str], place: str
) -> None:
    project = Project(tmp_path / "project")
    shutil.copytree(alone.folder, project.folder)
    shutil.rmtree(project.folder / "runs" / "scores", ignore_errors=True)
    injury = {"place": place, "call": 1, "more": 1 << 18}
    attempt = project.run(*command, injuries={**JOURNAL_ONLY, "limit_memory_inside": injury})
    assert attempt.status == 2, attempt.error
    assert "Traceback" not in attempt.error
    assert attempt.error.splitlines()[-1].startswith("error: out of memory")
    assert not (project.folder / "metrics" / "evaluate.json").exists()
    assert not (project.folder / "elsewhere").exists()


def test_a_text_larger_than_the_memory_is_fetched_and_prepared(tmp_path: Path) -> None:
    """From a server that breaks off, with a third of the text's size to take beside what the command has begun with."""
    content = ("".join(map(chr, range(32, 127))) + "é漢\n").encode() * 1_500_000  # 150 MB
    source, more = BrokenOff(content, [60_000_000], tag='"v1"'), 50_000_000
    project = new_project(tmp_path / "project")
    (project.folder / "data" / "input.txt").unlink()
    with server(source.answer, source.head) as url:
        settings = {"source": url, "sha256": hashlib.sha256(content).hexdigest()}
        fetch = ["fetch", *(word for key, value in settings.items() for word in ("-S", f"fetch.{key}={value}"))]
        injuries = {"limit_memory_inside": {"place": "gptmodel.data.sources:fetch_text", "call": 1, "more": more}}
        assert "it goes on behind the" in project.run(*fetch, injuries=injuries).error
        project.succeed(*fetch, injuries=injuries)
    assert source.asked[1] is not None
    injuries = {"limit_memory_inside": {"place": "gptmodel.data.corpus:prepare", "call": 1, "more": more}}
    for kind, tokens in (("char", len(content.decode())), ("byte", len(content))):
        project.succeed("prepare", "-S", f"prepare.tokenizer={kind}", injuries=injuries)
        report = json.loads((project.folder / "metrics" / "prepare.json").read_text(encoding="utf-8"))
        assert report["text_sha256"] == settings["sha256"]
        assert report["train_tokens"] + report["val_tokens"] == tokens


LIMITED = """
import os, resource, sys, threading
sys.path.insert(0, {root!r})
from stages.command import main
def command(**_):
    resource.setrlimit(resource.{limit}, ({most}, {most}))
    if os.geteuid() == 0 and "torch" not in {code!r}:
        os.setuid(65534)  # root may start as many processes as there can be
    {code}
main(command)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count otherwise")
@pytest.mark.parametrize(
    ("limit", "most", "code", "line"),
    [
        ("RLIMIT_AS", 60 << 20, "import torch", "error: out of memory: free some, allow this command more"),
        ("RLIMIT_AS", 1 << 28, "bytearray(1 << 29)", "error: out of memory: free some, allow this command more"),
        ("RLIMIT_NPROC", 0, "threading.Thread().start()", "error: no more threads can be started: "),
        ("RLIMIT_NPROC", 0, "os.fork()", "error: Resource temporarily unavailable; allow this user more processes"),
    ],
)
def test_the_limits_of_the_system_are_one_line(limit: str, most: int, code: str, line: str) -> None:
    program = LIMITED.format(root=str(ROOT), limit=limit, most=most, code=code)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(line), result.stderr
    assert result.stderr.count("\n") == 1
