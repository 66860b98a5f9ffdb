"""A server of small models on a free port of this machine, and a client that says exactly what a test wants."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_helpers import language_model, scramble, small_model

from gptmodel.checkpoint.model_file import save_model
from gptmodel.language_model import LanguageModel
from gptmodel.port import listening
from gptmodel.serving.app import Api
from gptmodel.serving.engine import Job
from gptmodel.serving.models import Shelf
from gptmodel.serving.server import Server
from gptmodel.tokenizers.base import Tokenizer
from gptmodel.tokenizers.byte import ByteTokenizer
from gptmodel.tokenizers.char import CharTokenizer

LETTERS = CharTokenizer("abcdefghij\n")


async def collected(job: Job[Any]) -> list[Any]:
    return [result async for results in job.results() for result in results]


def model_of(tokenizer: Tokenizer = LETTERS, **changes: Any) -> LanguageModel:
    return language_model(scramble(small_model(vocab_size=tokenizer.vocab_size, **changes)), tokenizer=tokenizer)


@dataclass
class Running:
    """A server that answers."""

    api: Api
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request, the body as JSON unless it is bytes; return status, headers in small letters, and answer."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if body is not None else {}
        connection = self.connect()
        try:
            connection.request(method, path, content, kind | (headers or {}))
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.headers.items()}, response.read()
        finally:
            connection.close()

    def post(self, path: str, **body: Any) -> Any:
        """Return the JSON of an answer that has to be good."""
        status, _, content = self.ask("POST", path, body)
        assert status == 200, content
        return json.loads(content)

    def error(self, path: str, body: Any, status: int) -> dict[str, Any]:
        """Return the error of a request that has to be refused with this status."""
        answered, _, content = self.ask("POST", path, body)
        assert answered == status, content
        error: dict[str, Any] = json.loads(content)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert "\n" not in error["message"]
        return error

    def stream(self, **body: Any) -> list[Any]:
        """Return the objects of a stream that ends as it should."""
        status, headers, content = self.ask("POST", "/v1/completions", {"stream": True, **body})
        assert status == 200, content
        assert headers["content-type"].startswith("text/event-stream")
        *events, last, rest = content.decode().split("\n\n")
        assert (last, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]


@contextmanager
def running(api: Api) -> Iterator[Running]:
    """Serve until the block ends."""
    with listening(0) as listener:
        server = Server(api)
        thread = threading.Thread(target=server.serve_on, args=(listener,))
        thread.start()
        try:
            yield Running(api, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server does not end"


@contextmanager
def serving(folder: Path) -> Iterator[Running]:
    """Serve a model of letters and one of bytes."""
    for tokenizer in (LETTERS, ByteTokenizer()):
        save_model(folder / f"{tokenizer.kind}.pth", model_of(tokenizer), {"data": {}})
    shelf = Shelf([str(folder / "char.pth"), str(folder / "byte.pth")], folder / "prepared")
    with running(Api(shelf)) as server:
        yield server
