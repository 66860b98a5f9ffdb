"""`gptmodel plan`: a table for a newcomer, nothing written, errors of one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from attempts import ROOT, Attempt
from model_helpers import language_model, small_model, small_values
from projects import Project

from gptmodel.checkpoint.model_file import save_model
from gptmodel.compute.place import has_idle_cores
from gptmodel.tokenizers.char import CharTokenizer


def plan(folder: Path, *arguments: str) -> Attempt:
    return Project(folder).run("plan", *arguments, COLUMNS="200")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(small_values()), encoding="utf-8")
    (folder / "data" / "input.txt").write_text("What is past is prologue.\n" * 40, encoding="utf-8")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_newcomer_reads_what_a_run_will_take_and_nothing_is_written(project: Path) -> None:
    before = files(project)
    result = plan(project, "-S", "train.max_iters=1000", "-S", "runtime.mlflow=true")
    assert result.status == 0, result.error
    assert files(project) == before
    rows = {line.split("  ")[0]: line for line in result.output.splitlines()}
    for name in ("parameters", "memory", "disk", "train", "evaluate", "sample", "train to sample"):
        assert name in rows, result.output
    assert "24  3 sequences of 8" in rows["tokens per iteration"]
    assert "335  " in rows["evaluations"]
    beside = has_idle_cores(torch.device("cpu"), 1)
    assert ("including waiting for evaluations" if beside else "including evaluations") in rows["train"]
    assert rows["evaluations"].endswith("beside the iterations") is beside
    measured, text = result.output.splitlines()[-2:]
    assert measured.startswith("measured: ")
    assert "on 1 thread, cpu, float32" in measured
    assert text == "text: data/input.txt, which is not prepared yet"
    assert max(map(len, result.output.splitlines())) < 140


def test_one_of_a_kind_is_not_told_as_several(project: Project) -> None:
    result = plan(project, "-S", "train.max_iters=20", "-S", "train.batch_size=1", "-S", "train.patience=1")
    rows = {line.split("  ")[0]: line for line in result.output.splitlines()}
    assert rows["tokens per iteration"].endswith("  1 sequence of 8")
    assert rows["iterations"].endswith(", at most: an evaluation without a lower val loss ends the training")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-S", "train.seeds=1"], ["train.seeds: unknown key"]),
        (["--out", "x"], ["--out", "--help"]),
        (["-S", "model.block_size=500"], ["model.block_size = 500"]),
        (["-S", "model.n_embd=65536", "-S", "model.n_layer=90"], ["this machine has"]),
        (["-S", "train.init_from=start.pt"], ["train.init_from = start.pt: no such file"]),
        (["-S", "train.learning_rate=1e30", "-S", "train.optimizer=sgd"], ["lower train.learning_rate"]),
    ],
)
def test_an_error_is_one_line_and_status_2(project: Path, arguments: list[str], words: list[str]) -> None:
    before = files(project)
    result = plan(project, *arguments)
    assert (result.status, result.output) == (2, "")
    error = result.error.splitlines()[-1]
    assert error.startswith("error: ")
    assert "Traceback" not in result.error
    for word in words:
        assert word in error
    assert files(project) == before


def test_a_model_to_start_from_has_to_fit_as_far_as_the_text_is_known(project: Path) -> None:
    tokenizer = CharTokenizer.fit([b"another text"], [], None)
    model = language_model(small_model(vocab_size=tokenizer.vocab_size), tokenizer=tokenizer)
    save_model(project / "start.pth", model, {})
    start = ("-S", "train.init_from=start.pth")
    refused = plan(project, *start)
    assert (refused.status, refused.output) == (2, "")
    assert "its tokenizer and that of data/prepared are both char, but not the same" in refused.error
    (project / "data/input.txt").unlink()  # the text that fetch would get may have these very characters
    to_fetch = (*start, "-S", "fetch.source=shakespeare")
    assert plan(project, *to_fetch).status == 0
    assert "has model.n_embd = 8, here 16" in plan(project, *to_fetch, "-S", "model.n_embd=16").error


def test_the_help_lists_the_settings_without_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']; from stages.plan import app; app(standalone_mode=False); "
        "sys.exit(str({'torch', 'mlflow', 'matplotlib', 'numpy', 'psutil'} & set(sys.modules) or ''))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) in {(0, ""), (1, "\n")}, result.stderr
    assert "train.max_iters" in result.stdout
    assert "writes nothing" in result.stdout
