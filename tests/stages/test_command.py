"""The command line's promises: exit statuses, errors of one line, settings in the help, nothing written on an error."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from gptmodel import config
from gptmodel.section import described
from stages import cli, command

ROOT = Path(__file__).parents[2]
STAGES = ["fetch", "prepare", "train", "evaluate", "sample"]  # that have settings of their own
SECTIONS = {"train": ["model", "train", "runtime"]} | {name: [name] for name in STAGES if name != "train"}
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DVC_STAGE": "a stage", "COLUMNS": "200"}
SECONDS = 60


class Outcome:
    """How a command line ended."""

    def __init__(self, status: object, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def gptmodel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Call the `gptmodel` command in this process, in a folder with the project's params.yaml."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "a stage")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gptmodel", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.run()
        return Outcome(ended.value.code, *capsys.readouterr())

    yield call
    for number, handler in former.items():
        signal.signal(number, handler)


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def refused(outcome: Outcome, *words: str) -> None:
    """Check that an outcome is one line of error and status 2, and that nothing was written."""
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("\n")
    for word in words:
        assert word in outcome.err
    assert [path.name for path in Path().iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-option"], ["--no-such-option", "--help"]),
        (["a-word", "another-word"], ["another-word", "--help"]),
        (["-S"], ["-S", "--help"]),
        (["-S", "train"], ["-S train:", "section.key=value"]),
        (["-S", "train.seeds=1"], ["params.yaml with -S: ", "train.seeds: unknown key", "seed?"]),
        (["-S", "trains.seed=1"], ["trains: unknown section", "train?"]),
        (["-S", "train.seed=one"], ["train.seed = 'one'", "whole number"]),
        (["-S", "model.n_head=5", "-S", "train.warmup_iters=9999"], ["model.n_head = 5", "train.warmup_iters = 9999"]),
        (["--params", "none.yaml"], ["none.yaml: no such params file"]),
        (["--params", "."], [".: cannot be read"]),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(gptmodel, stage: str, arguments: list[str], words: list[str]):
    refused(gptmodel(stage, *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare"], ["data/input.txt: no such text", "dvc repro fetch"]),
        (["train"], ["data/prepared"]),
        (["evaluate"], ["models/model.pth"]),
        (["sample"], ["models/model.pth"]),
        (["sample", "--model", "other.pth"], ["other.pth"]),
        (["sample", "--prompt", ""], ["prompt is empty"]),
        (["sample", "--prompt-file", "none.txt"], ["none.txt: cannot be read"]),
        (["sample", "--prompt", "a", "--prompt-file", "b"], ["give only one of them"]),
        (["report"], ["models/model.pth"]),
        (["compare", "a.pth", "b.pth"], ["a.pth: there is no such model file"]),
        (["fetch", "-S", "fetch.source=none.txt"], ["none.txt: cannot be read"]),
        (["fetch", "-S", "fetch.source=own"], ["data/input.txt: no such file"]),
    ],
)
def test_a_missing_input_is_one_line_and_status_2(gptmodel, arguments: list[str], words: list[str]):
    refused(gptmodel(*arguments), *words)


def test_all_faults_of_a_params_file_are_told_at_once(gptmodel):
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["train"]["seed"] = "x"
    values["model"]["dropout"] = 2
    del values["sample"]["top_k"]
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    refused(gptmodel("fetch"), "train.seed", "model.dropout", "sample.top_k")


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_a_command_of_its_own_too(tmp_path: Path, stage: str):
    result = process(tmp_path, "-m", f"stages.{stage}", "--params", "none.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: none.yaml: ")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("other", [False, True])
def test_the_help_has_each_setting_with_its_default_from_the_params_file(gptmodel, stage: str, other: bool):
    path = Path("params.yaml")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if other:
        values["train"]["batch_size"], values["sample"]["temperature"] = 77, 0.123
        values["fetch"]["source"], values["prepare"]["tokenizer"] = "own", "byte"
        values["evaluate"]["overfit_gap"] = 0.321
        path = Path("other.yaml")
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
    outcome = gptmodel(stage, *(["--params", str(path)] if other else []), "--help")
    assert (outcome.status, outcome.err) == (0, "")
    for option in ("--params", "-S, --set", "--out", "--help"):
        assert option in outcome.out
    words = re.sub(r"(?<=\w)- (?=\w)", "-", " ".join(outcome.out.split()))  # a line may end within "feed-forward"
    for section in SECTIONS[stage]:
        assert f"Settings of {path}, section {section}" in words
        for key, value in values[section].items():
            default = words.partition(f" {section}.{key} ")[2].partition("[default: ")[2]
            assert default.startswith(f"{_written(value)}]"), key
            assert f" {section}.{key} {described(config.SECTIONS[section].model_fields[key])} [default: " in words, key


def test_the_help_can_be_had_without_a_params_file(gptmodel):
    Path("params.yaml").unlink()
    outcome = gptmodel("train", "--help")
    assert outcome.status == 0
    assert "settings cannot be listed: params.yaml: no such params file" in " ".join(outcome.out.split())


def test_gptmodel_lists_its_commands(gptmodel):
    outcome = gptmodel("--help")
    assert outcome.status == 0
    listed = {line.split()[0] for line in outcome.out.partition("Commands:")[2].splitlines() if line.strip()}
    assert {*STAGES, "report", "compare", "ui", "sync"} <= listed


@pytest.mark.parametrize("columns", ["80", "100"])
def test_no_line_of_a_help_is_cut(gptmodel, monkeypatch: pytest.MonkeyPatch, columns: str):
    monkeypatch.setenv("COLUMNS", columns)
    outcome = gptmodel("--help")
    commands = [line for line in outcome.out.partition("Commands:")[2].splitlines() if line.strip()]
    assert len(commands) > 10
    assert [line for line in commands if line.endswith("...")] == []
    for text in (outcome.out, *(gptmodel(line.split()[0], "--help").out for line in commands)):
        assert max(map(len, text.splitlines())) <= int(columns)
        assert "[[" not in text


def test_presets_are_listed_with_their_sizes_and_one_is_used(gptmodel):
    listed = gptmodel("preset")
    assert (listed.status, listed.err) == (0, "")
    assert "laptop    51,743,182 parameters  245 MB  Three layers with Muon" in listed.out
    used = gptmodel("preset", "laptop")
    assert "model.n_embd: 64 -> 128\n" in used.out
    assert used.out.splitlines()[-1].startswith("params.yaml: ")
    assert gptmodel("preset", "laptop").out == "params.yaml: has the model and the training of laptop already\n"
    refused(gptmodel("preset", "lap"), "lap: no such preset; there are tutorial, nanogpt, laptop, network, best")


def test_the_version_is_that_of_the_package(gptmodel):
    outcome = gptmodel("--version")
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert (outcome.status, outcome.out, outcome.err) == (0, f"{written}\n", "")


def test_the_version_does_not_wait_for_heavy_libraries():
    code = (
        "import sys; sys.argv = ['gptmodel', '--version']; from stages.cli import app; app(standalone_mode=False); "
        "sys.exit(str({'torch', 'mlflow', 'matplotlib', 'numpy'} & set(sys.modules) or ''))"
    )
    result = process(ROOT, "-c", code)
    assert (result.returncode, result.stderr) in {(0, ""), (1, "\n")}, result.stderr
    assert result.stdout


def test_an_unknown_command_is_one_line_and_status_2(gptmodel):
    refused(gptmodel("trian"), "trian", "--help")


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_does_not_wait_for_heavy_libraries(stage: str):
    code = (
        f"import sys; sys.argv = ['x', '--help']; from stages.{stage} import app; app(standalone_mode=False); "
        "sys.exit(str({'torch', 'mlflow', 'matplotlib', 'numpy'} & set(sys.modules) or ''))"
    )
    result = process(ROOT, "-c", code)
    assert (result.returncode, result.stderr) in {(0, ""), (1, "\n")}, result.stderr
    assert "Settings of params.yaml" in result.stdout


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ("KeyError('a fault of ours')", 1, "Traceback"),
        ("OSError(errno.EIO, 'a broken disk')", 1, "Traceback"),
        ("OSError(errno.ENOSPC, 'No space left on device', 'a/file')", 2, "error: a/file: No space left on device; "),
        ("GptModelError('two\\nlines')", 2, "error: two lines\n"),
        ("Interrupted(15, 'stopped by SIGTERM')", 143, "stopped by SIGTERM\n"),
        ("Interrupted(2, 'stopped by SIGINT')", 130, "stopped by SIGINT\n"),
    ],
)
def test_every_error_has_its_status(tmp_path: Path, error: str, status: int, message: str):
    assert errno.ENOSPC in command.MENDABLE
    code = f"""
import errno
from gptmodel.errors import GptModelError, Interrupted
from stages.command import main, new_app
app = new_app()
@app.command()
def fails():
    raise {error}
main(app)
"""
    result = process(tmp_path, "-c", code)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith(message)
    assert ("Traceback" in result.stderr) == (status == 1)


DELETED = "import os, shutil; shutil.rmtree(os.getcwd())"


@pytest.mark.skipif(os.name == "nt", reason="there a folder that is in use stays")
@pytest.mark.parametrize(
    "command", [*STAGES, "report", "compare", "register", "plan", "ui", "sync", "verify", "doctor"]
)
def test_in_a_folder_that_was_deleted_a_command_is_one_line_and_status_2(tmp_path: Path, command: str):
    code = f"{DELETED}; import sys; sys.argv = ['gptmodel', {command!r}]; from stages.cli import run; run()"
    result = process(tmp_path, "-c", code)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: the folder that this command was started in is gone; ")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="there a folder that is in use stays")
def test_a_folder_that_is_deleted_while_a_command_runs_is_told_too(tmp_path: Path):
    code = f"""
from pathlib import Path
from stages.command import main, new_app
app = new_app()
@app.command()
def works():
    {DELETED}
    Path("a-file").write_text("")
main(app)
"""
    result = process(tmp_path, "-c", code)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "is gone" in result.stderr


def test_no_time_is_spent_on_garbage_at_the_end(tmp_path: Path):
    code = """
from stages.command import main, new_app
app = new_app()
class Circle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("was looked for and found")
@app.command()
def works():
    Circle()
main(app)
"""
    result = process(tmp_path, "-c", code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path):
    code = "from stages.command import main, new_app, say; app = new_app(); app.command()(lambda: [say('x' * 99) for _ in range(9999)]); main(app)"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        writer.stdout.close()
        assert writer.wait(SECONDS) == 1
        assert writer.stderr.read() == b""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_during_fetch_ends_it_and_nothing_is_written(tmp_path: Path, signum: int, status: int):
    with (tmp_path / "source.txt").open("wb") as stream:
        stream.truncate(64 << 30)  # zeros that take no space, and minutes to read
    stopped = _start(tmp_path, "fetch", "-S", "fetch.source=source.txt")
    end = time.monotonic() + SECONDS
    while not _reads(stopped.pid, tmp_path / "source.txt"):
        assert time.monotonic() < end
        time.sleep(0.02)
    _signalled(stopped, signum, status)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_prepare_ends_it_and_nothing_is_written(tmp_path: Path, signum: int, status: int):
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "input.txt").open("wb") as stream:
        stream.write(b"ab")
        stream.truncate(4 << 30)  # zeros that take no space, and a minute to read
    stopped = _start(tmp_path, "prepare")
    folder = tmp_path / "data" / "prepared"
    end = time.monotonic() + SECONDS
    while not _reads(stopped.pid, tmp_path / "data" / "input.txt") and not folder.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    _signalled(stopped, signum, status)
    leftovers = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert [name for name in leftovers if not name.endswith(".tmp")] == []
    assert not (tmp_path / "metrics").exists()


def _written(value: object) -> str:
    """Return a setting as the help writes it."""
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _start(folder: Path, stage: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", "--params", str(ROOT / "params.yaml"), *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )


def _signalled(stopped: "subprocess.Popen[str]", signum: int, status: int) -> None:
    stopped.send_signal(signum)
    message = stopped.communicate(timeout=SECONDS)[1]
    assert stopped.returncode == status, message
    assert message.count("\n") == (signum != signal.SIGINT)  # after Ctrl-C the user knows
    assert "Traceback" not in message


def _reads(pid: int, file: Path) -> bool:
    """Whether a process has a file open; where there is no /proc, whether it had two seconds for that."""
    folder = Path(f"/proc/{pid}/fd")
    if not folder.is_dir():
        time.sleep(2)
        return True
    try:
        return any(link.resolve() == file.resolve() for link in folder.iterdir())
    except OSError:
        return False
