"""What goes out: completions whole and as streams, and errors. What is large is encoded beside the event loop."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gptmodel.errors import ConfigError, DataError, GptModelError
from gptmodel.serving.completions import Piece, Wanted
from gptmodel.serving.encoding import encoded, encoded_aside
from gptmodel.serving.engine import Job, StoppedError, UnreadError
from gptmodel.serving.protocol import DONE, ApiError, choice, event, joined, usage

LARGE = 500
"""Tokens of an event; one with more is encoded beside the event loop. With fewer, another thread would cost more."""
ENDED = "the server was stopped before the answer was complete"
log = logging.getLogger(__name__)


async def large(make: Callable[[], Any]) -> Response:
    """Answer with the JSON of what `make` returns."""
    return Response(await encoded_aside(make), media_type="application/json")


def whole(turns: Sequence[list[Piece]], head: dict[str, Any], task: Wanted) -> dict[str, Any]:
    """Return a completion of all that the turns of its work made."""
    pieces = joined([piece for turn in turns for piece in turn])
    return _chunk(head, pieces, task) | {"usage": usage(task, sum(piece.drawn for piece in pieces))}


class Stream(StreamingResponse):
    """Events as they come; who goes away, at whatever moment, ends the job."""

    def __init__(self, job: Job[list[Piece]], head: dict[str, Any], task: Wanted, *, usage_asked: bool) -> None:
        super().__init__(_events(job, head, task, usage_asked=usage_asked), media_type="text/event-stream")
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()


async def _events(
    job: Job[list[Piece]], head: dict[str, Any], task: Wanted, *, usage_asked: bool
) -> AsyncIterator[bytes]:
    drawn = 0
    try:
        async for turns in job.results():
            pieces = joined([piece for turn in turns for piece in turn])
            drawn += sum(piece.drawn for piece in pieces)
            if new := [piece for piece in pieces if piece.text or piece.tokens or piece.finish_reason]:
                make = partial(_chunk, head, new, task)
                tokens = sum(len(piece.tokens) for piece in new)
                yield event(await encoded_aside(make) if tokens > LARGE else encoded(make()))
        if usage_asked:
            yield event(encoded(_chunk(head, [], task) | {"usage": usage(task, drawn)}))
        yield DONE
    except Exception as error:
        yield event(encoded(told(error).content()))


def _chunk(head: dict[str, Any], pieces: Sequence[Piece], task: Wanted) -> dict[str, Any]:
    return head | {"choices": [choice(piece, task.logprobs) for piece in pieces]}


def told(error: Exception) -> ApiError:
    """Return what a client is told of an error; that of the program is logged with its traceback."""
    if isinstance(error, StoppedError):
        return ApiError(503, ENDED)
    if isinstance(error, UnreadError):
        return ApiError(408, "nobody read this answer for a minute, and another request needed its place")
    if isinstance(error, GptModelError):
        return ApiError(400 if isinstance(error, DataError | ConfigError) else 500, str(error))
    log.error("a request failed", exc_info=error)
    return ApiError(500, "the server made a mistake; its terminal shows what happened")
