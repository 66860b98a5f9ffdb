"""What must not be answered: bad bodies, foreign pages and names, too much at once; and who hangs up leaves nothing."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving_helpers import LETTERS, Running

COMPLETIONS = "/v1/completions"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.test"}, 400),
        ({"Host": "evil.test:{port}"}, 400),
        ({"Host": "[::1]:9"}, 400),
        ({"Host": "127.0.0.1.evil.test"}, 400),
        ({"Host": ""}, 400),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "LocalHost:{port}"}, 200),
        ({"Host": "localhost:9999", "Origin": "http://localhost:9999"}, 200),  # through ssh -L
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
    ids=str,
)
def test_only_this_machines_own_pages_and_programs_are_served(
    server: Running, headers: dict[str, str], status: int
) -> None:
    told = {name: value.format(port=server.port) for name, value in headers.items()}
    answered, answer_headers, content = server.ask("POST", COMPLETIONS, {"prompt": "ab", "max_tokens": 1}, told)
    assert answered == status, content
    assert "frame-ancestors 'none'" in answer_headers["content-security-policy"]
    assert answer_headers["content-security-policy"].startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'"
    )
    assert "access-control-allow-origin" not in answer_headers
    if "Host" in headers and status == 400:
        assert json.loads(content)["error"]["message"].endswith("; call it 127.0.0.1 or localhost")
        assert server.ask("GET", "/", headers=told)[0] == 400


BODIES: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"{", 400, "the body is not JSON: "),
    "nothing": (b"", 400, "the body is not JSON: "),
    "no object": (b'["ab"]', 400, "has to be a JSON object"),
    "not UTF-8": (b'{"prompt": "\xff"}', 400, "the body is not JSON"),
    "deep": (b'{"prompt": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400, "nested too deeply"),
    "NaN": (b'{"prompt": "ab", "temperature": NaN}', 400, "NaN is no number"),
    "infinite": (b'{"prompt": "ab", "temperature": 1e999}', 400, "temperature = .inf: has to be a finite number"),
    "digits": (b'{"prompt": "ab", "seed": ' + b"9" * 9000 + b"}", 400, "the body is not JSON"),
    "half a character": (b'{"prompt": "\\ud800"}', 400, "half of a character"),
    "half a name": (b'{"model": "\\udc80"}', 400, "half of a character"),
    "large": (b'{"prompt": "' + b"a" * 3_000_000 + b'"}', 413, "more than 1000000 bytes"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_told_so(server: Running, name: str) -> None:
    content, status, message = BODIES[name]
    answered, _, answer = server.ask("POST", COMPLETIONS, content)
    assert answered == status
    assert message in json.loads(answer)["error"]["message"]


def test_a_large_body_in_chunks_is_refused_on_the_way(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(20):  # 1.3 of 3 MB
            client.sendall(chunk)
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


STOP = "stop: has to be a text or a list of at most 4 texts, each of 1 to 100 characters"
OPTIONS = 'stream_options: has to be {"include_usage": true} or left out'


@pytest.mark.parametrize(
    ("body", "status", "param", "message"),
    [
        ({"model": "gpt-4"}, 404, "model", "there is no model 'gpt-4' here; there is char, byte"),
        ({"promt": "ab"}, 400, "promt", "promt: unknown key, did you mean prompt?"),
        ({"max_tokens": 0}, 400, "max_tokens", "max_tokens = 0: has to be at least 1, unless echo is true"),
        ({"max_tokens": 8193}, 400, "max_tokens", "max_tokens = 8193: has to be at most 8192"),
        ({"max_tokens": 8192, "n": 9}, 400, "max_tokens", "an answer has at most 65536"),
        ({"prompt": "a" * 40000, "echo": True, "max_tokens": 0, "n": 2}, 400, "echo", "an answer has at most 65536"),
        ({"prompt": ["a" * 65535, "a"], "echo": True}, 400, "echo", "x max_tokens = 16) makes 65568 tokens"),
        ({"max_tokens": True}, 400, "max_tokens", "max_tokens = true: has to be a whole number"),
        ({"n": 17}, 400, "n", "n = 17: has to be at most 16"),
        ({"n": 0}, 400, "n", "n = 0: has to be above 0"),
        ({"temperature": -1}, 400, "temperature", "temperature = -1: has to be at least 0"),
        ({"temperature": "hot"}, 400, "temperature", "temperature = 'hot': has to be a number"),
        ({"top_p": 0}, 400, "top_p", "top_p = 0: has to be above 0"),
        ({"top_k": -1}, 400, "top_k", "top_k = -1: has to be at least 0"),
        ({"seed": -1}, 400, "seed", "seed = -1: has to be at least 0"),
        ({"seed": 2**63}, 400, "seed", "seed = 9223372036854775808: has to be below 2^63"),
        ({"logprobs": 21}, 400, "logprobs", "logprobs = 21: has to be at most 20"),
        ({"logprobs": True}, 400, "logprobs", "logprobs = true: has to be a whole number"),
        ({"stop": ["a"] * 5}, 400, "stop", STOP),
        ({"stop": "a" * 101}, 400, "stop", STOP),
        ({"stop": ""}, 400, "stop", STOP),
        ({"stop": 5}, 400, "stop", STOP),
        ({"suffix": "x"}, 400, "suffix", "suffix is not supported; leave it out"),
        ({"best_of": 3}, 400, "best_of", "best_of is not supported; leave it out"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty", "presence_penalty is not supported; leave it out"),
        ({"frequency_penalty": 1}, 400, "frequency_penalty", "frequency_penalty is not supported; leave it out"),
        ({"logit_bias": {"5": 1}}, 400, "logit_bias", "logit_bias is not supported; leave it out"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "stream_options: needs stream = true"),
        ({"stream": True, "stream_options": {"x": 1}}, 400, "stream_options", OPTIONS),
        ({"stream": True, "stream_options": 5}, 400, "stream_options", OPTIONS),
        ({"prompt": ""}, 400, "prompt", "the prompt is empty: give at least one character"),
        ({"prompt": []}, 400, "prompt", "the prompt is empty: give at least one character"),
        ({"prompt": [[]]}, 400, "prompt", "the prompt is empty: give at least one character"),
        ({"prompt": 5}, 400, "prompt", "the prompt has to be a text, a list of texts, a list of token ids, or"),
        ({"prompt": ["a", 5]}, 400, "prompt", "the prompt has to be a text, a list of texts, a list of token ids, or"),
        ({"prompt": [True]}, 400, "prompt", "the prompt has to be a text, a list of texts, a list of token ids, or"),
        ({"prompt": [11]}, 400, "prompt", "token id 11 at index 0 is out of range: the tokenizer has 11 ids"),
        ({"prompt": [10**30]}, 400, "prompt", "a token id is out of range"),
        ({"prompt": "a€"}, 400, "prompt", "character 1 (counted from 0) is '€' (U+20AC), which is not among the 11"),
        ({"prompt": "a" * 65537}, 400, "prompt", "the prompt has 65537 tokens: at most 65536 are read at once"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_done_is_named(
    server: Running, body: dict[str, Any], status: int, param: str, message: str
) -> None:
    error = server.error(COMPLETIONS, {"prompt": "ab", **body}, status)
    assert message in error["message"]
    assert error["param"] == param
    assert not {"Input", "valid", "instance"} & set(error["message"].split())
    if not {"stream", "stream_options"} & set(body):  # a stream is refused before it begins
        assert server.error(COMPLETIONS, {"prompt": "ab", "stream": True, **body}, status)["message"]


def test_what_says_nothing_else_than_nothing_is_taken(server: Running) -> None:
    server.post(
        COMPLETIONS, prompt="ab", max_tokens=1, best_of=1, presence_penalty=0, logit_bias={}, suffix=None, user="me"
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/attention", {"text": "ab", "layer": 2}, 400, "layer = 2: has to be at most 1"),
        ("/api/attention", {"text": "ab", "layer": -1}, 400, "layer = -1: has to be at least 0"),
        ("/api/attention", {"text": ""}, 400, "text: has to be a text that is not empty"),
        ("/api/attention", {"text": "€"}, 400, "'€'"),
        ("/api/attention", {"text": 5}, 400, "text = 5: has to be a text"),
        ("/api/attention", {"model": "x", "text": "ab"}, 404, "there is no model 'x' here"),
        ("/api/copied", {"txt": "ab"}, 400, "txt: unknown key, did you mean text?"),
        ("/v1/chat/completions", {"messages": []}, 404, "use /v1/completions"),
        ("/completions", {"prompt": "ab"}, 404, "there is nothing at /completions; / is the page, /v1 is for OpenAI's"),
        ("/v1/embeddings", {"input": "ab"}, 404, "there is nothing at /v1/embeddings; "),
        ("/v1/models", {}, 405, "/v1/models takes GET, HEAD"),
    ],
    ids=str,
)
def test_other_routes_refuse_in_the_same_form(
    server: Running, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    assert message in server.error(path, body, status)["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", "/v1/completions", 405),
        ("GET", "/v1/completions", 405),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/app.py", 404),
        ("GET", "/..%2fapp.py", 404),
        ("GET", "/page/index.html", 404),
        ("GET", "/nowhere", 404),
        ("OPTIONS", "/nowhere", 404),
        ("DELETE", "/", 405),
    ],
)
def test_nothing_else_is_there(server: Running, method: str, path: str, status: int) -> None:
    assert server.ask(method, path)[0] == status


def _request(**body: Any) -> bytes:
    content = json.dumps({"prompt": "ab", "max_tokens": 8192, **body}).encode()
    head = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def open_stream(server: Running, **body: Any) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(_request(stream=True, **body))
    return client


def wait_for_jobs(server: Running, count: int) -> None:
    end = time.monotonic() + 60
    while server.api.engine.jobs != count:
        assert time.monotonic() < end, server.api.engine.jobs
        time.sleep(0.01)


def test_more_than_sixteen_at_once_have_to_wait(server: Running) -> None:
    clients = [open_stream(server) for _ in range(16)]
    wait_for_jobs(server, 16)
    status, headers, content = server.ask("POST", COMPLETIONS, {"prompt": "ab"})
    assert (status, headers["retry-after"]) == (429, "1")
    assert "try again in a second" in json.loads(content)["error"]["message"]
    assert server.ask("POST", "/api/attention", {"text": "ab"})[0] == 429
    assert json.loads(server.ask("GET", "/health")[2])["jobs"] == 16
    for client in clients:
        client.close()
    wait_for_jobs(server, 0)
    server.post(COMPLETIONS, prompt="ab")


def test_who_hangs_up_leaves_no_job_and_the_others_get_all_they_asked_for(server: Running) -> None:
    """Fifty clients, of which half go away: before an answer, amid a stream, or while they wait for a whole answer."""
    server.post(COMPLETIONS, prompt="ab")
    threads = threading.active_count()

    def client(number: int) -> bool:
        while True:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            with connection:
                stays = number % 2 == 0
                body = {"stream": number % 4 < 3, "max_tokens": 60 if stays else 8192, "seed": number}
                connection.sendall(_request(**body))
                if not stays and number % 3 == 0:
                    return True
                if not stays and not body["stream"]:
                    time.sleep(0.05)
                    return True
                answer = connection.recv(1 << 16)
                if answer.startswith(b"HTTP/1.1 429 "):
                    time.sleep(0.02)
                    continue
                assert answer.startswith(b"HTTP/1.1 200 ")
                if not stays:
                    return True
                end = b"0\r\n\r\n" if body["stream"] else b"}"
                while not answer.endswith(end):
                    more = connection.recv(1 << 16)
                    assert more
                    answer += more
                assert not body["stream"] or b"[DONE]" in answer
                return True

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(client, range(50))) == [True] * 50
    wait_for_jobs(server, 0)
    assert server.api.searches.jobs == 0
    assert threading.active_count() <= threads + 1
    server.post(COMPLETIONS, prompt="ab", max_tokens=5)


def test_a_client_that_reads_nothing_holds_up_nobody(server: Running) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(_request(stream=True, logprobs=20, n=8))
        wait_for_jobs(server, 1)
        assert len(server.post(COMPLETIONS, prompt="ab", max_tokens=200)["choices"][0]["text"]) == 200
    wait_for_jobs(server, 0)


def test_half_a_request_holds_up_nobody(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(_request()[:-5])
        assert server.post(COMPLETIONS, prompt=LETTERS.encode("ab"), max_tokens=2)
        assert server.api.engine.jobs == 0
    assert server.ask("GET", "/health")[0] == 200
