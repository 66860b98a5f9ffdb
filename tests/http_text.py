"""A real HTTP server for downloads: one that drips, falls silent, hangs or sends without end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Behaviour, head: Behaviour | None = None) -> Iterator[str]:
    """Serve by a function, and give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_HEAD(self) -> None:
            (head or only_headers)(self)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, *_: object) -> None:  # a client that went away is what some tests want
            ...

    serving = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_address[1]}/text.txt"
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()


def only_headers(handler: BaseHTTPRequestHandler, length: int | None = None) -> None:
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def drip(handler: BaseHTTPRequestHandler, length: int = 20) -> None:
    """Send a byte each tenth of a second."""
    only_headers(handler, length)
    for _ in range(length):
        handler.wfile.write(b"x")
        time.sleep(0.1)


class BrokenOff:
    """A server of one file whose first answers break off; it can go on behind a byte, if it says so and is asked to."""

    def __init__(self, content: bytes, after: list[int], *, tag: str | None, ranges: bool = True) -> None:
        self.content, self.after, self.tag, self.ranges = content, after, tag, ranges
        self.asked: list[str | None] = []

    def headers(self, handler: BaseHTTPRequestHandler, status: int, start: int) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(self.content) - start))
        if self.tag is not None:
            handler.send_header("ETag", self.tag)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.end_headers()

    def head(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers(handler, 200, 0)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        is_part = asked is not None and self.ranges and handler.headers.get("If-Range") == self.tag
        start = int(str(asked).removeprefix("bytes=").removesuffix("-")) if is_part else 0
        self.headers(handler, 206 if is_part else 200, start)
        end = self.after.pop(0) if self.after else len(self.content)
        handler.wfile.write(self.content[start:end])
        time.sleep(0.3 if end < len(self.content) else 0)  # so that what was sent is read before the end


def fall_silent(handler: BaseHTTPRequestHandler) -> None:
    only_headers(handler, 20)
    handler.wfile.write(b"x" * 10)
    time.sleep(5)


def hang(_handler: BaseHTTPRequestHandler) -> None:
    time.sleep(5)


def send_without_end(handler: BaseHTTPRequestHandler) -> None:
    only_headers(handler)
    while True:
        handler.wfile.write(bytes(1 << 16))
