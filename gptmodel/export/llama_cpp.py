"""llama.cpp in a process of its own, since it may abort, or never end: a job on stdin, the results on stdout.

A job names the model file and the context length, and holds texts as token ids with the position of each from which on
the log-probabilities of what follows are wanted; and a text of which the ids are wanted.
"""

import json
import os
import sys
from typing import Any
from urllib.request import Request, urlopen

MOST_IDS = 1 << 20
WHOLE = [[byte, 100.0] for byte in range(ord(" "), ord("~"))]
"""Tokens to draw, of bytes: no answer comes for one that is a part of a character. Those of characters are whole."""


def main() -> None:
    """Do the job on stdin, and end at once: a server of llama.cpp that is taken down may wait for itself."""
    job = json.load(sys.stdin)
    server = _server(job["model"], job["context"])
    texts, first = job["texts"], job["first"]
    rows = [[_following(server, ids[:end]) for end in range(first + 1, len(ids))] for ids in texts]
    json.dump({"rows": rows, "ids": _token_ids(server, job["text"])}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


def _server(model: str, context: int) -> Any:
    """Return llama.cpp with the model: in float32 throughout, on this machine's own address alone."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames = model, ["127.0.0.1"]
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = context, 1, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def _following(server: Any, ids: list[int]) -> list[float]:
    """Return the log-probability of each token behind `ids`, by id: what was drawn, and how, has no part in them."""
    request = {"prompt": ids, "n_predict": 1, "n_probs": MOST_IDS, "temperature": 0.0, "logit_bias": WHOLE}
    tokens = server.handle_completions(request)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return [token["logprob"] for token in sorted(tokens, key=lambda token: token["id"])]


def _token_ids(server: Any, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": False}).encode()
    request = Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        ids: list[int] = json.load(answer)["tokens"]
    return ids


if __name__ == "__main__":
    main()
