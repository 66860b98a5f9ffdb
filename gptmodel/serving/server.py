"""A server of models on this machine alone, until it is told to stop."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from gptmodel.serving.app import Api

CONNECTIONS = 256
STOP_SECONDS = 1


class Server(uvicorn.Server):
    """Serves an Api. A signal ends the answers under way first: a stream that is open holds up no end."""

    def __init__(self, api: Api) -> None:
        self._api = api
        super().__init__(
            uvicorn.Config(
                api.app(),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all answers, then all connections."""
        self._api.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let a terminal that closes end the server as SIGTERM does: the handler that was there comes after it.

        An error raised by a handler would come up wherever asyncio is, which may take it for one of a connection.
        """
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        in_main = threading.current_thread() is threading.main_thread()
        with super().capture_signals():
            if hangup is None or not in_main or signal.getsignal(hangup) is signal.SIG_IGN:
                yield
                return
            former = signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, former)

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until SIGINT (KeyboardInterrupt), SIGTERM or SIGHUP."""
        self.run([listener])
