"""`gptmodel verify`: an honest commit is proven; a lock, a metric, a model or code changed by hand is named."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from committed_project import (
    ENVIRONMENT,
    Completed,
    call,
    commit,
    copied,
    faults,
    good,
    gptmodel,
    replace,
    rows,
    set_params,
)


def md5_in_lock(project: Path, path: str) -> str:
    match = re.search(rf"path: {re.escape(path)}\n.*\n\s+md5: (\w+)", (project / "dvc.lock").read_text())
    assert match is not None
    return match[1]


def state(project: Path) -> dict[str, tuple[float, int]]:
    """Every file of the project but git's own and bytecode, with its time and size."""
    skipped = {".git", "__pycache__"}
    return {
        str(path.relative_to(project)): (path.stat().st_mtime, path.stat().st_size)
        for path in project.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(project).parts)
    }


def worktrees(project: Path) -> int:
    return len(good(project, "git", "worktree", "list").splitlines())


def test_an_honest_commit_is_proven_and_nothing_is_touched(project: Path) -> None:
    before = state(project)
    result = gptmodel(project, "verify")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].endswith("dvc.lock is proven")
    assert faults(result) == set()
    statuses = rows(result)
    assert statuses["train", "models/model.pth"] == "same"
    assert statuses["train", "models/run.json"] == "volatile"
    assert statuses["train", "metrics/train.json"] == "same, but for the time it took"
    assert statuses["evaluate", "metrics/evaluate.json"] == "same"
    assert statuses["sample", "metrics/memorisation.json"] == "same"
    assert statuses["report", "reports/report.html"] == "same"
    assert len([key for key in statuses if key[1] != "code, data, settings"]) == 21
    assert [line for line in result.stderr.splitlines() if line.startswith("rebuilding")] == [
        f"rebuilding {stage} ..."
        for stage in ("fetch", "prepare", "baselines", "train", "evaluate", "sample", "report")
    ]
    assert state(project) == before
    assert worktrees(project) == 1


def test_a_forged_md5_is_caught(project: Path) -> None:
    """With the new md5 in every place where the lock has it, so that the lock agrees with itself."""
    old = md5_in_lock(project, "data/prepared")
    replace(project / "dvc.lock", old, old[::-1])
    commit(project)
    result = gptmodel(project, "verify", "--stage", "prepare")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: HEAD (")
    assert ("prepare", "data/prepared", "differs") in faults(result)
    assert f"lock {old[::-1][:8]}, rebuilt {old[:8]}" in result.stdout


def test_a_lock_that_disagrees_with_itself_is_caught(project: Path) -> None:
    text = (project / "dvc.lock").read_text()
    old = md5_in_lock(project, "data/input.txt")
    entry = "path: data/input.txt\n      hash: md5\n      md5: "
    (project / "dvc.lock").write_text(text.replace(entry + old, entry + old[::-1], 1))  # as an out of fetch only
    commit(project)
    result = gptmodel(project, "verify", "--stage", "prepare")
    assert faults(result) == {("prepare", "data/input.txt", "differs")}
    assert "has another entry for it as an out of fetch" in result.stdout


def test_a_forged_setting_size_or_command_is_caught(project: Path) -> None:
    replace(project / "dvc.lock", "tokenizer: char", "tokenizer: byte")
    replace(project / "dvc.lock", "cmd: python -m stages.prepare", "cmd: python -m stages.prepare --out x")
    size = (project / "stages" / "prepare.py").stat().st_size
    replace(project / "dvc.lock", f"size: {size}", f"size: {size + 1}")
    commit(project)
    result = gptmodel(project, "verify", "--stage", "prepare")
    assert result.returncode == 2
    assert faults(result) == {
        ("prepare", "params.yaml", "differs"),
        ("prepare", "command", "differs"),
        ("prepare", "stages/prepare.py", "differs"),
    }
    assert "prepare.tokenizer: lock 'byte', params 'char'" in result.stdout


def test_code_changed_without_a_run_is_caught(project: Path) -> None:
    path = project / "gptmodel" / "tokenizers" / "char.py"
    path.write_text(path.read_text() + "# changed\n")
    commit(project)
    result = gptmodel(project, "verify", "--stage", "prepare")
    assert result.returncode == 2
    assert faults(result) == {("prepare", "gptmodel/tokenizers", "differs")}


@pytest.mark.slow
def test_a_metric_changed_by_hand_is_caught(project: Path) -> None:
    replace(project / "metrics" / "train.json", '"parameters": ', '"parameters": 1')
    commit(project)
    result = gptmodel(project, "verify", "--stage", "train")
    assert result.returncode == 2
    assert faults(result) == {("train", "metrics/train.json", "differs")}
    assert re.search(r"lock \w{8}, committed \w{8}, rebuilt \w{8}", result.stdout)


@pytest.fixture(scope="module")
def forged_training(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Completed:
    """The verification of a training whose loss is changed by hand in the commit, and whose model in the workspace."""
    project = copied(finished, tmp_path_factory.mktemp("forged") / "project")
    path = project / "metrics" / "train.json"
    old = call(project, "md5sum", str(path)).stdout.split()[0]
    values = json.loads(path.read_text())
    text = path.read_text().replace(str(values["val_loss"]), str(values["val_loss"])[:-1] + "9")
    assert text != path.read_text()
    path.write_text(text)
    replace(project / "dvc.lock", old, call(project, "md5sum", str(path)).stdout.split()[0])
    commit(project)
    with (project / "models" / "model.pth").open("ab") as stream:
        stream.write(b"x")
    return gptmodel(project, "verify", "--stage", "train")


def test_a_loss_changed_by_hand_is_caught_even_with_its_md5_in_the_lock(forged_training: Completed) -> None:
    """The file with times in it cannot be compared by its md5."""
    assert forged_training.returncode == 2
    assert {fault[1] for fault in faults(forged_training) if fault[0] == "train"} == {"metrics/train.json"}
    assert "more than the time" in forged_training.stdout


def test_what_is_changed_by_hand_in_the_workspace_is_caught(project: Path) -> None:
    with (project / "data" / "prepared" / "train.bin").open("ab") as stream:
        stream.write(b"x")
    replace(project / "metrics" / "prepare.json", '"characters": ', '"characters": 1')
    replace(project / "dvc.lock", "tokenizer: char", "tokenizer: byte")
    result = gptmodel(project, "verify", "--stage", "prepare")
    assert result.returncode == 2
    assert faults(result) == {
        ("workspace", "data/prepared", "differs"),
        ("workspace", "metrics/prepare.json", "differs"),
        ("workspace", "dvc.lock", "differs"),
    }
    assert "uncommitted changes: dvc.lock" in result.stderr
    assert "`dvc checkout --force data/prepared` replaces it by that one" in result.stdout


def test_a_model_changed_by_hand_is_caught(forged_training: Completed) -> None:
    others = {fault for fault in faults(forged_training) if fault[0] != "train"}
    assert others == {("workspace", "models/model.pth", "differs")}


@pytest.mark.slow
def test_a_model_of_another_training_is_caught_and_explained(project: Path) -> None:
    """Lock, cache and workspace hold a model that other settings made; only a rebuild can tell."""
    honest = (project / "dvc.lock").read_text()
    set_params(project, "weight_decay=0.5", "parts=2")
    good(project, "dvc", "repro", "--quiet", "train")
    forged = project / "dvc.lock"
    model = md5_in_lock(project, "models/model.pth")
    forged.write_text(honest.replace(re.findall(r"path: models/model.pth\n.*\n\s+md5: (\w+)", honest)[0], model))
    set_params(project, "weight_decay=0.01", "parts=1")
    good(project, "git", "checkout", "metrics")
    commit(project)
    result = gptmodel(project, "verify")
    assert result.returncode == 2
    assert ("train", "models/model.pth", "differs") in faults(result)
    assert ("evaluate", "metrics/evaluate.json", "differs") in faults(result)  # it is not that of the model in the lock
    assert "both were trained on the same platform, so code, data or settings differ" in result.stdout


def test_quick_mode_takes_what_a_stage_needs_from_the_cache_or_says_what_is_missing(project: Path) -> None:
    shutil.rmtree(project / "data" / "prepared")
    (project / "models" / "model.pth").unlink()
    result = gptmodel(project, "verify", "--stage", "sample")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].endswith("proven for sample")
    assert {stage for stage, _ in rows(result)} == {"sample"}
    md5 = md5_in_lock(project, "models/model.pth")
    cached = project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    cached.chmod(0o644)
    cached.write_bytes(b"damaged")
    result = gptmodel(project, "verify", "--stage", "sample")
    assert result.returncode == 2
    assert faults(result) == {("sample", "models/model.pth", "missing")}
    assert "verify without --stage" in result.stdout
    assert "dvc pull" not in result.stdout  # there is nothing to pull from


def test_a_users_own_text_is_an_input(project: Path) -> None:
    set_params(project, "source=own")
    good(project, "dvc", "repro", "--quiet", "fetch")
    commit(project)
    result = gptmodel(project, "verify", "--stage", "fetch")
    assert result.returncode == 0, result.stdout + result.stderr
    assert rows(result)["fetch", "data/input.txt"] == "same"
    (project / "data" / "input.txt").write_text("another text")
    result = gptmodel(project, "verify", "--stage", "fetch")
    assert result.returncode == 2
    assert ("fetch", "data/input.txt", "differs") in faults(result)
    assert (project / "data" / "input.txt").read_text() == "another text"


@pytest.mark.slow
def test_a_text_that_git_does_not_track_is_found(project: Path) -> None:
    (project / "elsewhere").mkdir()
    (project / "source.txt").rename(project / "elsewhere" / "source.txt")
    (project / ".git" / "info" / "exclude").write_text("elsewhere\n")
    set_params(project, "source=elsewhere/source.txt")
    good(project, "dvc", "repro", "--quiet", "fetch")
    commit(project)
    result = gptmodel(project, "verify", "--stage", "fetch")
    assert result.returncode == 0, result.stdout + result.stderr
    (project / "elsewhere" / "source.txt").unlink()
    result = gptmodel(project, "verify", "--stage", "fetch")
    assert result.returncode == 2
    assert re.search(r"^fetch +failed +elsewhere/source.txt: cannot be read", result.stdout, re.MULTILINE)


def test_an_older_revision_is_proven_by_its_own_code(project: Path) -> None:
    (project / "gptmodel" / "tokenizers" / "char.py").write_text("raise SystemExit(1)\n")
    (project / "models" / "model.pth").write_bytes(b"x")
    commit(project)
    result = gptmodel(project, "verify", "HEAD~1", "--stage", "prepare")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "workspace" not in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere"], "nowhere: not a revision of this project"),
        (["--upload-pack=x"], "--upload-pack"),
        (
            ["--stage", "tain"],
            "--stage tain: no such stage; there are fetch, prepare, baselines, train, evaluate, sample, report",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], expected: str, project: Path) -> None:
    result = gptmodel(project, "verify", *words)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert expected in result.stderr
    assert worktrees(project) == 1


@pytest.mark.parametrize("text", [None, "{", "schema: '2.0'\nstages: {train: 3}\n"])
def test_a_lock_that_is_none_is_one_line(text: str | None, project: Path) -> None:
    (project / "dvc.lock").unlink()
    if text is not None:
        (project / "dvc.lock").write_text(text)
    commit(project)
    result = gptmodel(project, "verify")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert re.match(r"error: HEAD \(\w{8}\): dvc\.lock: ", result.stderr)
    assert worktrees(project) == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_worktree(signum: signal.Signals, project: Path) -> None:
    command = [sys.executable, "-m", "stages.cli", "verify"]
    running = subprocess.Popen(command, cwd=project, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert running.stderr.readline().startswith("rebuilding")
    assert worktrees(project) == 2
    running.send_signal(signum)
    running.communicate(timeout=30)
    assert running.returncode != 0
    until = time.monotonic() + 5
    while worktrees(project) > 1 and time.monotonic() < until:
        time.sleep(0.1)
    assert worktrees(project) == 1
