"""Keeps the server for the person at this machine: no name but its own, no page but its own, nothing from elsewhere."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptmodel.serving.protocol import ApiError

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests under another host name (DNS rebinding) and from pages of other origins.

    A port on the way, as of `ssh -L`, is no matter: an origin has to be the host that the request names.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = _refused(Headers(scope=scope))
        answer = self._app if refused is None else JSONResponse(refused.content(), refused.status)
        await answer(scope, receive, with_headers)


def _refused(headers: Headers) -> ApiError | None:
    host, origin = headers.get("host", "").lower(), headers.get("origin")  # names of hosts may be in capitals
    if host.partition(":")[0] not in HOSTS:
        return ApiError(400, f"this server is not {host[:100]!r}; call it {' or '.join(HOSTS)}")
    if origin is not None and origin != f"http://{host}":
        return ApiError(403, f"pages of {origin[:100]} may not use this server")
    return None
