"""Answers as JSON. A large one is made in a thread of its own and in parts: the event loop goes on meanwhile."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_THREAD = ThreadPoolExecutor(1, "encoder")  # one, so that one large answer at a time is in memory twice


def encoded(value: Any) -> bytes:
    """Return a value as JSON."""
    return _JSON.encode(value).encode()


async def encoded_aside(make: Callable[[], Any]) -> bytes:
    """Return the JSON of what `make` returns, both made beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: b"".join(_parts(make())))


def _parts(value: Any) -> Iterator[bytes]:
    """Yield JSON a part at a time, since no other thread runs while json encodes one."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(member, dict | list) for member in members):
        yield encoded(value)
        return
    before, after = (b"{", b"}") if isinstance(value, dict) else (b"[", b"]")
    names = [encoded(name) + b":" for name in value] if isinstance(value, dict) else [b""] * len(value)
    for name, member in zip(names, members, strict=True):
        yield before + name
        yield from _parts(member)
        before = b","
    yield after
