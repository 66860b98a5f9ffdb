"""A server of models on this machine alone, until it is told to stop."""

import socket

import uvicorn

from gptmodel.errors import ConfigError
from gptmodel.serving.app import Api

HOST = "127.0.0.1"
CONNECTIONS = 256
STOP_SECONDS = 1


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port of this machine, which nobody else can reach; ConfigError if it is taken.

    Port 0 is any that is free.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(CONNECTIONS)
    except OSError as error:
        listener.close()
        other = port + 1 if port < 65535 else port - 1
        raise ConfigError(f"--port {port}: {error.strerror}; name another, such as --port {other}") from None
    return listener


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

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until SIGINT (KeyboardInterrupt) or SIGTERM."""
        self.run([listener])
