"""The routes of the server: completions, models, attention, copied passages, and the page that uses them."""

import asyncio
import secrets
import time
from importlib import resources
from pathlib import PurePath
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gptmodel.errors import DataError
from gptmodel.serving.answers import ENDED, Stream, large, told, whole
from gptmodel.serving.attention import attention_weights, most_tokens
from gptmodel.serving.completions import complete
from gptmodel.serving.engine import BusyError, Engine, Job, StoppedError, Work
from gptmodel.serving.guard import Guard
from gptmodel.serving.models import Served, Shelf
from gptmodel.serving.protocol import (
    BODY_BYTES,
    MOST_TOKENS,
    ApiError,
    AttentionBody,
    Body,
    CompletionBody,
    CopiedBody,
    parsed,
    wanted,
)

T = TypeVar("T")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class Api:
    """Answers for some models: one engine computes, another looks up, so that a search holds up no stream."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._began = shelf, int(time.time())
        self.engine, self.searches = Engine(), Engine()
        page = resources.files("gptmodel.serving") / "page"
        self._page = {file.name: file.read_bytes() for file in page.iterdir() if PurePath(file.name).suffix in TYPES}

    def app(self) -> Guard:
        """Return what a server calls."""
        routes = [
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.one_model),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/api/attention", self.attention, methods=["POST"]),
            Route("/api/copied", self.copied, methods=["POST"]),
            Route("/health", self.health),
            Route("/", self.page),
            *(Route(f"/{name}", self.page) for name in self._page),
        ]
        handlers = {ApiError: _refused, HTTPException: _failed, ClientDisconnect: _left}
        return Guard(Starlette(routes=routes, exception_handlers=handlers))  # type: ignore[arg-type]

    def stop(self) -> None:
        """End all answers under way, so that their connections close."""
        self.engine.stop()
        self.searches.stop()

    async def page(self, request: Request) -> Response:
        name = request.scope["path"].removeprefix("/") or "index.html"
        return Response(self._page[name], media_type=TYPES[PurePath(name).suffix])

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "jobs": self.engine.jobs})

    async def models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model.card(self._began) for model in self._shelf.models]})

    async def one_model(self, request: Request) -> Response:
        return JSONResponse(self._shelf.model(request.path_params["name"]).card(self._began))

    async def chat(self, _request: Request) -> Response:
        raise ApiError(404, "these models continue a text and hold no talks: use /v1/completions")

    async def completions(self, request: Request) -> Response:
        body = await _body(request, CompletionBody)
        model = self._shelf.model(body.model)
        task = wanted(body, model.tokenizer)
        job = _submit(self.engine, complete(model.text_model, model.names, task))
        head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": model.fingerprint,
            "seed": task.params.seed,
        }
        if body.stream:
            usage_asked = body.stream_options == {"include_usage": True}
            return Stream(job, head, task, usage_asked=usage_asked)
        turns = await _all(job, request)
        return await large(lambda: whole(turns, head, task))

    async def attention(self, request: Request) -> Response:
        body = await _body(request, AttentionBody)
        model = self._shelf.model(body.model)
        params = model.language_model.params
        if body.layer >= params.n_layer:
            raise ApiError(400, f"layer = {body.layer}: has to be at most {params.n_layer - 1}", "layer")
        ids = _ids(model, body.text)[-params.block_size :]
        if len(ids) > (most := most_tokens(params.n_head)):
            reason = f"has to have at most {most} tokens where there are {params.n_head} heads, not {len(ids)}"
            raise ApiError(400, f"text: {reason}", "text")
        job = _submit(self.engine, attention_weights(model.language_model, ids, body.layer))
        (weights,) = await _all(job, request)
        tokens = [model.names[idx] for idx in ids]
        return await large(lambda: {"tokens": tokens, "heads": (weights * 1000).round().int().tolist()})

    async def copied(self, request: Request) -> Response:
        body = await _body(request, CopiedBody)
        model = self._shelf.model(body.model)
        if model.training_text is None:
            raise ApiError(404, f"the training text of {model.name} is not here: {model.no_training_text}", "model")
        if not 0 < len(body.text) <= MOST_TOKENS:
            raise ApiError(400, f"text: has to have 1 to {MOST_TOKENS} characters, not {len(body.text)}", "text")
        *_, answer = await _all(_submit(self.searches, model.training_text.copied(body.text)), request)
        return JSONResponse(answer)


async def _body(request: Request, kind: type[Body]) -> Body:
    kind_of_content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind_of_content != "application/json":
        raise ApiError(415, "the body has to be JSON, with the header Content-Type: application/json")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > BODY_BYTES:
            raise ApiError(413, f"the body has more than {BODY_BYTES} bytes, which is the most that is read")
    return parsed(bytes(content), kind)


def _ids(model: Served, text: str) -> list[int]:
    try:
        ids = model.tokenizer.encode(text)
    except DataError as error:
        raise ApiError(400, str(error), "text") from None
    if not ids:
        raise ApiError(400, "text: has to be a text that is not empty", "text")
    return ids


def _submit(engine: Engine, work: Work[T]) -> Job[T]:
    try:
        return engine.submit(work)
    except BusyError:
        raise ApiError(429, "too many requests are served at once; try again in a second") from None
    except StoppedError:
        raise ApiError(503, ENDED) from None


async def _all(job: Job[T], request: Request) -> list[T]:
    """Return all that a job makes; it ends when the client goes away."""

    async def collected() -> list[T]:
        return [result async for results in job.results() for result in results]

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    collecting, leaving = asyncio.create_task(collected()), asyncio.create_task(gone())
    try:
        await asyncio.wait((collecting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            raise ClientDisconnect
        return collecting.result()
    except ClientDisconnect:
        raise
    except Exception as error:
        raise told(error) from None
    finally:
        job.cancel()
        collecting.cancel()
        leaving.cancel()


async def _refused(_request: Request, error: ApiError) -> Response:
    headers = {"Retry-After": "1"} if error.status == 429 else None
    return JSONResponse(error.content(), error.status, headers=headers)


async def _failed(request: Request, error: HTTPException) -> Response:
    path, allowed = request.scope["path"][:100], (error.headers or {}).get("Allow", "")
    what = {
        404: f"there is nothing at {path}; / is the page, /v1 is for OpenAI's clients",
        405: f"{path} takes {', '.join(sorted(allowed.split(', ')))}",  # starlette has them in any order
    }
    refused = ApiError(error.status_code, what.get(error.status_code, error.detail))
    return JSONResponse(refused.content(), refused.status, headers=error.headers)


async def _left(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # which nobody reads
