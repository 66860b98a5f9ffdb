"""The clients that people have: the `openai` package and curl, against the command as it is started."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attempts import Attempt, server
from model_helpers import ROOT
from serving_helpers import LETTERS, model_of

import gptmodel
from gptmodel.checkpoint.model_file import save_model

if TYPE_CHECKING:  # every worker imports this file, and only one needs the library, which takes seconds
    import openai


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Command:
    """`gptmodel serve` in a folder with models/model.pth."""

    folder: Path
    port: int
    attempt: Attempt

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def started(folder: Path, *arguments: str) -> Command:
    """Start the command and wait until it answers."""
    save_model(folder / "models" / "model.pth", model_of(), {})
    port = free_port()
    attempt = server().start(folder, ["serve", *arguments, "--port", str(port)], {})
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return Command(folder, port, attempt)
        except OSError:
            assert attempt.status is None, attempt.error
            assert time.monotonic() < end
            attempt.listen(0.05)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    command = started(tmp_path_factory.mktemp("served"))
    yield command
    command.attempt.signal(signal.SIGINT)
    command.attempt.wait()


@pytest.fixture(scope="module")
def client(command: Command) -> Iterator["openai.OpenAI"]:
    import openai

    with openai.OpenAI(base_url=f"{command.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openai_completes_as_python_does(command: Command, client: "openai.OpenAI") -> None:
    model = gptmodel.load(command.folder / "models" / "model.pth")
    text = model.generate("ab", max_new_tokens=60, seed=3)
    assert [card.id for card in client.models.list()] == ["model"]
    answer = client.completions.create(model="model", prompt="ab", max_tokens=60, temperature=0.8, seed=3, echo=True)
    assert answer.choices[0].text == text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 60
    assert answer.system_fingerprint is not None
    assert answer.system_fingerprint.startswith("fp_")
    chunks = list(
        client.completions.create(
            model="model",
            prompt="ab",
            max_tokens=60,
            temperature=0.8,
            seed=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == str(text)[2:]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 62
    several = client.completions.create(
        model="model", prompt=["ab", "cd"], n=2, max_tokens=9, seed=3, stop=["ce"], extra_body={"top_k": 4}
    )
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def test_openai_scores_token_ids(client: "openai.OpenAI") -> None:
    ids = LETTERS.encode("abcabcabc")
    answer = client.completions.create(model="model", prompt=[ids], max_tokens=1, logprobs=5, echo=True, temperature=0)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert len(logprobs.token_logprobs) == len(ids) + 1
    assert logprobs.token_logprobs[0] is None
    for token, logprob, top in list(
        zip(logprobs.tokens or [], logprobs.token_logprobs, logprobs.top_logprobs, strict=True)
    )[1:]:
        assert top[token] == logprob


def test_openai_raises_its_own_errors_with_our_line(client: "openai.OpenAI") -> None:
    import openai

    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4' here; there is model"):
        client.completions.create(model="gpt-4", prompt="ab")
    with pytest.raises(openai.BadRequestError, match="'€'"):
        client.completions.create(model="model", prompt="€")
    with pytest.raises(openai.BadRequestError, match="suffix is not supported"):
        client.completions.create(model="model", prompt="ab", suffix="x", stream=True)


def test_a_closed_stream_ends_the_job(command: Command, client: "openai.OpenAI") -> None:
    stream = client.completions.create(model="model", prompt="ab", max_tokens=8192, stream=True)
    next(iter(stream))
    stream.close()
    for _ in range(500):
        with urllib.request.urlopen(f"{command.address}/health") as answer:
            if json.load(answer)["jobs"] == 0:
                return
        time.sleep(0.01)
    raise AssertionError("the job goes on")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_streams(command: Command) -> None:
    body = json.dumps({"prompt": "ab", "max_tokens": 20, "seed": 1, "stream": True})
    url = f"{command.address}/v1/completions"
    line = ["curl", "--silent", "--no-buffer", url, "--json", body]
    result = subprocess.run(line, capture_output=True, text=True, check=True)
    *events, last = [event for event in result.stdout.split("\n\n") if event]
    assert last == "data: [DONE]"
    text = "".join(json.loads(event[6:])["choices"][0]["text"] for event in events)
    again = subprocess.run(
        ["curl", "--silent", url, "--json", body.replace("true", "false")], capture_output=True, check=True
    )
    assert json.loads(again.stdout)["choices"][0]["text"] == text


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGINT, 0, "stopped"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_a_signal_ends_the_server_though_a_stream_is_open(tmp_path: Path, number: int, status: int, said: str) -> None:
    command = started(tmp_path)
    assert f"open {command.address} (Ctrl-C stops it)" in command.attempt.said("stdout")
    content = json.dumps({"prompt": "ab", "max_tokens": 8192, "n": 8, "stream": True}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", command.port), timeout=30) as client:
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = client.recv(1 << 16)
        began = time.monotonic()
        command.attempt.signal(number)
        while more := client.recv(1 << 16):
            answer += more
        assert command.attempt.wait() == status
        seconds = time.monotonic() - began
    assert seconds < 5.0  # the stream alone would take longer
    assert command.attempt.error.strip() == said
    assert answer.endswith(b"0\r\n\r\n")  # the end of a whole answer, and in it that the text is none
    last = answer.split(b"data: ")[-1]
    assert b"the server was stopped before the answer was complete" in last


def test_a_port_in_use_and_a_model_that_is_none_are_one_line(command: Command, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        attempt = server().start(tmp_path, ["serve", *arguments], {})
        assert attempt.wait() == 2
        assert attempt.output == ""
        return attempt.error.strip()

    port = command.port
    line = f"error: --port {port}: Address already in use; name another, such as --port {port + 1}"
    assert refused(str(command.folder / "models" / "model.pth"), "--port", str(port)) == line
    other = str(free_port())
    line = "error: models/model.pth: no such model; train one with `dvc repro train`"
    assert refused("--port", other) == line
    assert refused("nowhere.pth", "--port", other).startswith("error: nowhere.pth: no such model")
    assert refused("a.pth", "a.pth", "--port", other) == "error: a.pth: is named twice; name each model once"
    assert refused("runs:/abc", "--port", other).startswith("error: runs:/abc: there is no MLflow store at ")
    assert refused("--host", "0.0.0.0").startswith("error: No such option: --host")


def test_the_help_takes_no_torch() -> None:
    code = (
        "import sys; import stages.serve; assert not {'torch', 'uvicorn', 'starlette', 'pydantic'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
