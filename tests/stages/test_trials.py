"""Trials: what somebody runs by hand, with options, to look at something changes nothing that is kept of a training."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from projects import JOURNAL_ONLY, Project

SAMPLES = Path("samples") / "samples.txt"


@pytest.fixture(scope="module")
def project(alone: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tracked training with its evaluation and samples; the trials of this file leave it as it is."""
    folder = tmp_path_factory.mktemp("trials") / "project"
    shutil.copytree(alone.folder, folder)
    trained = Project(folder)
    for stage in ("evaluate", "sample"):
        trained.succeed(stage, injuries=JOURNAL_ONLY)
    shutil.copytree(folder / "models", folder.parent / "elsewhere" / "models")  # with the run.json of a tracked run
    return trained


def tree(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder, runs/ and what was tracked included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_plain_commands_write_what_the_pipeline_writes_and_are_tracked(project: Project) -> None:
    assert (project.folder / SAMPLES).read_text(encoding="utf-8").startswith("--- sample 1 of 3 ---\n")
    (journal,) = project.journals
    assert {"samples.txt", "evaluate.json"} <= {path.name for path in journal.files_folder.rglob("*")}
    assert [event["values"] for event in journal.read()[0] if "verdict" in event.get("values", {})]


def test_a_setting_that_the_command_does_not_read_is_warned_of(project: Project) -> None:
    warned = project.succeed("sample", "-S", "train.seed=3", "-S", "sample.seed=3", "-S", "runtime.mlflow=false").error
    assert warned == "warning: -S train.seed changes nothing here, since sample does not read it\n"
    assert "-S train.init_from" not in project.succeed("fetch", "-S", "train.init_from=null").error
    assert "-S model.n_embd changes nothing" in project.succeed("baselines", "-S", "model.n_embd=16").error


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "ab"),
        ("sample", "--prompt", "ab"),
        ("sample", "-S", "sample.seed=3"),
        ("sample", "--params", "mine.yaml"),
        ("sample", "--model", "../elsewhere/models/model.pth"),
        ("evaluate", "--model", "../elsewhere/models/model.pth"),
    ],
    ids=" ".join,
)
def test_a_trial_only_prints(project: Project, words: tuple[str, ...]) -> None:
    shutil.copy(project.folder / "params.yaml", project.folder / "mine.yaml")
    before = tree(project.folder.parent / "elsewhere"), tree(project.folder)
    attempt = project.succeed(*words)
    assert attempt.output.startswith("ab" if "ab" in words else "train loss" if "evaluate" in words else "\n")
    assert (tree(project.folder.parent / "elsewhere"), tree(project.folder)) == before


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (("sample", "ab"), {"samples/samples.txt"}),
        (
            ("evaluate", "-S", "evaluate.overfit_gap=0.01"),
            {"metrics/evaluate.json"},
        ),
        (
            ("train", "-S", "train.max_iters=4"),
            {"models/model.pth", "models/run.json", "metrics/train.json", "metrics/history.csv"},
        ),
    ],
    ids=["sample", "evaluate", "train"],
)
def test_a_trial_with_out_writes_below_it_only(
    project: Project, tmp_path: Path, words: tuple[str, ...], written: set[str]
) -> None:
    before = tree(project.folder)
    attempt = project.succeed(*words, "--out", str(tmp_path / "out"))
    assert tree(project.folder) == before
    assert written <= {name for name in tree(tmp_path / "out") if not name.endswith(".lock")}
    if words[0] == "train":
        line = f"note: this training writes below {tmp_path / 'out'} only, its snapshots too, and is not tracked\n"
        assert attempt.error.startswith(line)
        assert json.loads((tmp_path / "out" / "models" / "run.json").read_text(encoding="utf-8"))["journal"] is None


def test_a_training_below_a_folder_goes_on_there_after_a_kill(project: Project, tmp_path: Path) -> None:
    before, words = tree(project.folder), ("train", "--out", str(tmp_path / "out"))
    moment = {"place": "gptmodel.training.step:training_step", "call": 9, "after": 5}
    assert project.run(*words, injuries={"kill_inside": moment}).killed
    assert list((tmp_path / "out" / "runs").glob("*/snapshot-*.pt"))
    assert "continued from iteration 8" in project.succeed(*words).error
    model = Path("models") / "model.pth"
    assert (tmp_path / "out" / model).read_bytes() == (project.folder / model).read_bytes()
    assert not list((tmp_path / "out" / "runs").glob("*/*"))
    assert tree(project.folder) == before


def test_an_evaluation_with_other_settings_is_written_and_not_tracked(project: Project, tmp_path: Path) -> None:
    copy = Project(shutil.copytree(project.folder, tmp_path / "project"))
    before = [journal.read()[0] for journal in copy.journals]
    attempt = copy.succeed("evaluate", "-S", "evaluate.overfit_gap=1e-9")
    line = "note: with other settings, this evaluation is not tracked, and dvc.lock does not record it"
    assert attempt.error.splitlines()[0] == line
    verdict = json.loads((copy.folder / "metrics" / "evaluate.json").read_text(encoding="utf-8"))["verdict"]
    assert attempt.output.splitlines()[2].startswith(verdict)
    assert [journal.read()[0] for journal in copy.journals] == before


def test_a_model_from_elsewhere_needs_no_project(project: Project, tmp_path: Path) -> None:
    """In an empty folder, by the default settings; a params file that is named has to be there."""
    shutil.copy(project.model, tmp_path / "model.pth")
    where = Project(tmp_path / "empty")
    where.folder.mkdir()
    words = ("sample", "--model", "../model.pth", "--prompt", "ab", "-S", "sample.max_new_tokens=5")
    assert len(where.succeed(*words).output.split("--- sample")) == 3
    refused = where.run(*words, "--params", "none.yaml")
    assert refused.status == 2
    assert refused.error.startswith("error: none.yaml: no such params file")
    refused = where.run(*words, "-S", "sample.top_p=2")
    assert refused.error == "error: the default settings with -S: sample.top_p = 2: has to be at most 1\n"
    assert list(where.folder.iterdir()) == []


@pytest.fixture(scope="module")
def text(project: Project) -> Path:
    """A text of characters that the model knows."""
    path = project.folder.parent / "text.txt"
    path.write_bytes((project.folder / "data" / "input.txt").read_bytes()[:500])
    return path


def test_any_text_is_scored_by_a_model_alone(project: Project, text: Path, tmp_path: Path) -> None:
    where = Project(tmp_path / "empty")
    where.folder.mkdir()
    words = ("evaluate", "--model", str(project.model), "--data", str(text))
    printed = where.succeed(*words).output
    assert re.fullmatch(
        r"text  loss \d\.\d{4}  perplexity \d+\.\d{3}  bits per byte \d\.\d{4}  \(499 tokens, each scored once\)\n",
        printed,
    )
    assert list(where.folder.iterdir()) == []
    assert where.succeed(*words, "--out", "out").output == printed
    assert set(tree(where.folder)) == {"out/metrics/evaluate.json"}
    (metrics,) = json.loads((where.folder / "out" / "metrics" / "evaluate.json").read_text(encoding="utf-8")).values()
    assert f"loss {metrics['loss']:.4f}" in printed
    val = json.loads((project.folder / "metrics" / "evaluate.json").read_text(encoding="utf-8"))["val"]
    characters = (project.folder / "data" / "input.txt").read_bytes()
    text.with_name("val.txt").write_bytes(characters[len(characters) * 9 // 10 :])
    where.succeed("evaluate", "--model", str(project.model), "--data", str(text.with_name("val.txt")), "--out", "val")
    written = json.loads((where.folder / "val" / "metrics" / "evaluate.json").read_text(encoding="utf-8"))
    assert written == {"text": val}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ab Ж c", ["character 3 (counted from 0) is 'Ж' (U+0416)", "characters of the model; leave it out", "byte"]),
        ("", ["is empty; name"]),
        ("a", ["only one distinct character"]),
        (None, ["is no text file; name one"]),
    ],
)
def test_a_text_that_cannot_be_scored_is_one_line(
    project: Project, tmp_path: Path, content: str | None, words: list[str]
) -> None:
    if content is not None:
        (tmp_path / "text.txt").write_text(content, encoding="utf-8")
    before = tree(project.folder)
    attempt = project.run("evaluate", "--data", str(tmp_path / "text.txt"))
    assert (attempt.status, attempt.output, attempt.error.count("\n")) == (2, "", 1)
    assert attempt.error.startswith(f"error: {tmp_path / 'text.txt'}: ")
    for word in words:
        assert word in attempt.error
    assert tree(project.folder) == before


def test_only_one_prompt_is_taken(project: Project) -> None:
    for words in (("a", "--prompt", "b"), ("a", "--prompt-file", "b"), ("--prompt", "a", "--prompt-file", "b")):
        refused = project.run("sample", *words)
        assert refused.status == 2
        assert refused.error.endswith(": give only one of them\n")


def test_the_folder_itself_is_no_out(project: Project, tmp_path: Path) -> None:
    """`--out .` writes what the stage writes there without it: so it is that run, and is tracked."""
    copy = Project(shutil.copytree(project.folder, tmp_path / "project"))
    (copy.folder / SAMPLES).unlink()
    count = len(list(copy.journals[0].files_folder.iterdir()))
    copy.succeed("sample", "--out", str(copy.folder), injuries=JOURNAL_ONLY)
    assert (copy.folder / SAMPLES).is_file()
    assert len(list(copy.journals[0].files_folder.iterdir())) > count
