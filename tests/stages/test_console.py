"""How commands print: any encoding, and a terminal does nothing because of a character of a model's text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_helpers import ROOT, language_model, scramble, small_model, small_values

from gptmodel.checkpoint.model_file import save_model
from gptmodel.presets import params_text
from gptmodel.tokenizers.char import CharTokenizer

SECONDS = 60
PROMPT = "a\t\x1b[31mb\x07\x9bc\rd\x7fäλ😀\n"
ESCAPED = "a\t\\x1b[31mb\\x07\\x9bc\\x0dd\\x7fäλ😀\n"
NO_ENCODING_BUT = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CONSOLES = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"LC_ALL": "C", **NO_ENCODING_BUT},
}
each_console = pytest.mark.parametrize(
    "encoding", [pytest.param(name, marks=() if name == "ascii" else pytest.mark.slow) for name in CONSOLES]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and a model that knows characters that few consoles show."""
    folder = tmp_path_factory.mktemp("console")
    values = small_values()
    values["sample"]["num_samples"] = 2
    (folder / "params.yaml").write_text(params_text("settings", values), encoding="utf-8")
    tokenizer = CharTokenizer(PROMPT)
    model = language_model(scramble(small_model(vocab_size=tokenizer.vocab_size)), tokenizer=tokenizer)
    save_model(folder / "model.pth", model, {})
    (folder / "prompt.txt").write_bytes(PROMPT.encode())
    return folder


def sampled(folder: Path, out: Path, stdout: int, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "stages.sample", "--model", "model.pth", "--prompt-file", "prompt.txt"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(
        [*command, "--out", str(out)],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )


@each_console
def test_a_pipe_gets_the_text_as_it_is_and_escaped_what_its_encoding_lacks(
    folder: Path, tmp_path: Path, encoding: str
) -> None:
    result = sampled(folder, tmp_path, subprocess.PIPE, **CONSOLES[encoding])
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(PROMPT.encode(encoding, "backslashreplace"))
    written = (tmp_path / "samples" / "samples.txt").read_bytes()
    assert written.count(PROMPT.encode()) == 2
    first = written.decode().partition("---\n")[2].partition("\n\n--- sample 2")[0]
    assert result.stdout.startswith(first.encode(encoding, "backslashreplace"))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs terminals")
@each_console
def test_a_terminal_gets_control_characters_escaped_and_the_file_as_they_are(
    folder: Path, tmp_path: Path, encoding: str
) -> None:
    controller, terminal = os.openpty()
    try:
        result = sampled(folder, tmp_path, terminal, **CONSOLES[encoding])
        shown = os.read(controller, 1 << 16)
    finally:
        os.close(terminal)
        os.close(controller)
    assert (result.returncode, result.stderr) == (0, b"")
    shown = shown.replace(b"\r\n", b"\n")  # the terminal's own
    assert shown.startswith(ESCAPED.encode(encoding, "backslashreplace"))
    assert not set(shown) & ({*range(32), 127} - set(b"\t\n"))
    assert (tmp_path / "samples" / "samples.txt").read_bytes().count(PROMPT.encode()) == 2


def test_an_error_on_a_terminal_obeys_nothing_either(folder: Path) -> None:
    controller, terminal = os.openpty()
    try:
        command = [sys.executable, "-m", "stages.sample", "--model", "\x1b]0;a title\x07.pth"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "none"}
        ended = subprocess.run(command, cwd=folder, env=environment, stderr=terminal, timeout=SECONDS, check=False)
        shown = os.read(controller, 1 << 16)
    finally:
        os.close(terminal)
        os.close(controller)
    assert ended.returncode == 2
    assert shown.startswith(b"error: \\x1b]0;a title\\x07.pth: ")


def test_every_command_prints_in_this_way() -> None:
    others = [path for path in (ROOT / "stages").glob("*.py") if path.name != "command.py"]
    assert len(others) > 10
    for path in others:
        words = path.read_text(encoding="utf-8")
        assert not [name for name in ("echo(", "print(", "sys.stdout", "stderr.write") if name in words], path.name
