"""What clients say and hear: OpenAI's legacy completions, with bounds; bodies in, answers and errors out.

Source: OpenAI's API reference, "Completions", as the `openai` package 3.57 speaks it.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from gptmodel.config import PastBlock, SampleParams
from gptmodel.errors import DataError
from gptmodel.sampling.generate import default_prompt
from gptmodel.section import Section
from gptmodel.serving.completions import Piece, Token, Wanted
from gptmodel.tokenizers.base import Tokenizer, checked_ids
from gptmodel.wrong_settings import faults_of

BODY_BYTES = 1_000_000
MOST_TOKENS = 1 << 16
"""Of all prompts of a request; and of its answer, over all choices, with the prompts where they are echoed."""
STOPS, STOP_CHARACTERS = 4, 100
Body = TypeVar("Body", bound=Section)


class ApiError(Exception):
    """What a client is told instead of an answer."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def content(self) -> dict[str, Any]:
        """Return it in OpenAI's form."""
        kind = {429: "rate_limit_error", 503: "server_error", 500: "server_error"}.get(
            self.status, "invalid_request_error"
        )
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class CompletionBody(Section):
    """A request for a completion. The last keys are OpenAI's that have to be as if they were absent."""

    model: str | None = None
    prompt: Any = None
    max_tokens: int = Field(16, ge=0, le=8192)
    temperature: float = Field(1.0, ge=0.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=0)
    past_block: PastBlock = "shift"
    n: int = Field(1, gt=0, le=16)
    stream: bool = False
    stream_options: Any = None
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False
    stop: Any = None
    seed: int | None = Field(None, ge=0)
    user: str | None = None
    suffix: Any = None
    best_of: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None


class AttentionBody(Section):
    """A request for the attention of one layer, counted from 0."""

    model: str | None = None
    text: str = ""
    layer: int = Field(0, ge=0)


class CopiedBody(Section):
    """A request for what of a text stands in the training text."""

    model: str | None = None
    text: str = ""


def parsed(content: bytes, kind: type[Body]) -> Body:
    """Return a request's body; ApiError says what is wrong with it. A key whose value is null counts as absent."""
    values = _json_object(content)
    values = {key: value for key, value in values.items() if value is not None}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        param = str(error.errors()[0]["loc"][0])
        raise ApiError(400, "; ".join(faults_of("", kind, error)), param) from None


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError for half a character
    except UnicodeEncodeError:
        raise ApiError(400, "the body holds half of a character (a lone surrogate); leave it out") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, 'the body has to be a JSON object, such as {"prompt": "ROMEO:"}')
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def wanted(body: CompletionBody, tokenizer: Tokenizer) -> Wanted:
    """Return what a completion asks of a model with this tokenizer; the seed is drawn where there is none.

    Raises ApiError for what is not supported, and for too much.
    """
    _check_supported(body)
    if body.max_tokens == 0 and not body.echo:
        raise ApiError(400, "max_tokens = 0: has to be at least 1, unless echo is true", "max_tokens")
    try:
        prompts = [_checked(prompt, tokenizer) for prompt in _prompts(body.prompt, tokenizer)]
    except DataError as error:
        raise ApiError(400, str(error), "prompt") from None
    if (tokens := sum(map(len, prompts))) > MOST_TOKENS:
        raise ApiError(400, f"the prompt has {tokens} tokens: at most {MOST_TOKENS} are read at once", "prompt")
    echoed = tokens if body.echo else 0
    if (most := body.n * (echoed + len(prompts) * body.max_tokens)) > MOST_TOKENS:
        parts = f"{echoed} of echo + {len(prompts)} prompts x max_tokens = {body.max_tokens}"
        reason = f"n = {body.n} x ({parts}) makes {most} tokens"
        raise ApiError(400, f"{reason}: an answer has at most {MOST_TOKENS}", "echo" if body.echo else "max_tokens")
    settings = {
        "max_new_tokens": max(1, body.max_tokens),
        "num_samples": body.n,
        "temperature": body.temperature,
        "top_k": body.top_k,
        "top_p": body.top_p,
        "stop": _stops(body.stop),
        "past_block": body.past_block,
        "seed": secrets.randbelow(1 << 32) if body.seed is None else body.seed,
    }
    params = SampleParams.model_validate(SampleParams.defaults() | settings)
    return Wanted(prompts, params, body.max_tokens, body.echo, body.logprobs)


def _check_supported(body: CompletionBody) -> None:
    absent: dict[str, tuple[Any, ...]] = {
        "suffix": (None, ""),
        "best_of": (None, body.n),
        "presence_penalty": (None, 0),
        "frequency_penalty": (None, 0),
        "logit_bias": (None, {}),
    }
    for name, values in absent.items():
        if getattr(body, name) not in values:
            raise ApiError(400, f"{name} is not supported; leave it out", name, "unsupported_parameter")
    if body.stream_options is None:
        return
    if not body.stream:
        raise ApiError(400, "stream_options: needs stream = true", "stream_options")
    if body.stream_options not in ({}, {"include_usage": True}, {"include_usage": False}):
        raise ApiError(400, 'stream_options: has to be {"include_usage": true} or left out', "stream_options")


def _stops(value: Any) -> list[str]:
    stops = [] if value is None else value if isinstance(value, list) else [value]
    if len(stops) > STOPS or not all(isinstance(stop, str) and 0 < len(stop) <= STOP_CHARACTERS for stop in stops):
        texts = f"a text or a list of at most {STOPS} texts, each of 1 to {STOP_CHARACTERS} characters"
        raise ApiError(400, f"stop: has to be {texts}", "stop")
    return stops


def _prompts(value: Any, tokenizer: Tokenizer) -> Sequence[Any]:
    """Return the prompts of a request, each of which `_checked` looks at: texts, and lists of token ids."""
    if value is None:
        return [default_prompt(tokenizer)]
    if isinstance(value, list) and not all(type(part) is int for part in value):
        return value
    return [value]


def _checked(prompt: Any, tokenizer: Tokenizer) -> list[int]:
    if isinstance(prompt, str):
        ids = tokenizer.encode(prompt)
    elif isinstance(prompt, list) and all(type(part) is int for part in prompt):
        ids = checked_ids(prompt, tokenizer.vocab_size).tolist()
    else:
        raise DataError("the prompt has to be a text, a list of texts, a list of token ids, or a list of such lists")
    if not ids:
        raise DataError("the prompt is empty: give at least one character")
    return ids


def choice(piece: Piece, logprobs: int | None) -> dict[str, Any]:
    """Return a piece of a stream, or a whole choice, as an answer has it."""
    return {
        "text": piece.text,
        "index": piece.choice,
        "logprobs": None if logprobs is None else _logprobs(piece.tokens),
        "finish_reason": piece.finish_reason,
    }


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    return {
        "tokens": [token.name for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [token.likeliest for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces of each choice as one, in the order of the choices."""
    by_choice: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_choice.setdefault(piece.choice, []).append(piece)
    return [
        Piece(
            number,
            "".join(part.text for part in parts),
            [token for part in parts for token in part.tokens],
            sum(part.drawn for part in parts),
            next((part.finish_reason for part in reversed(parts) if part.finish_reason), None),
        )
        for number, parts in sorted(by_choice.items())
    ]


def usage(task: Wanted, drawn: int) -> dict[str, int]:
    """Return the tokens of an answer: read, drawn and in all."""
    read = sum(map(len, task.prompts))
    return {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}


def event(content: bytes) -> bytes:
    """Return JSON as an event of a stream."""
    return b"data: " + content + b"\n\n"


DONE = event(b"[DONE]")
