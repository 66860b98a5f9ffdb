"""Large answers: the JSON that json makes, and others are answered while it is made."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_helpers import Running

from gptmodel.serving import encoding
from gptmodel.serving.answers import LARGE
from gptmodel.serving.encoding import encoded, encoded_aside

COMPLETIONS = "/v1/completions"
TEXTS = st.text('aé"{')
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(LEAVES, lambda part: st.lists(part, max_size=4) | st.dictionaries(TEXTS, part), max_leaves=9)


@given(VALUES)
def test_the_parts_are_together_what_json_makes(value: object) -> None:
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert asyncio.run(encoded_aside(lambda: value)) == encoded(value) == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETIONS, {"prompt": "ab" * LARGE, "max_tokens": 0, "echo": True, "logprobs": 1}),
        (COMPLETIONS, {"prompt": "ab" * LARGE, "max_tokens": 0, "echo": True, "logprobs": 1, "stream": True}),
        ("/api/attention", {"text": "abc"}),
    ],
    ids=["whole", "stream", "attention"],
)
def test_others_are_answered_while_a_large_answer_is_encoded(
    server: Running, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    encode = encoding.encoded

    def slowly(value: Any) -> bytes:
        begun.set()
        assert go_on.wait(20), "the event loop stands still"
        return encode(value)

    monkeypatch.setattr(encoding, "encoded", slowly)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.ask, "POST", path, body)
        assert begun.wait(20)
        assert server.ask("GET", "/health")[0] == 200
        go_on.set()
        status, _, content = answer.result()
    assert (status, b'"error"' in content) == (200, False)
