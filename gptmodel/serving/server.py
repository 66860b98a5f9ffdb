"""A server of models on this machine alone, until it is told to stop."""

import socket

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

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until SIGINT (KeyboardInterrupt) or SIGTERM."""
        self.run([listener])
