"""Tokens a second: ours against the plain loop, which gives the model the last block_size ids for each token.

`python -m benchmarks.sample` compares them at nanoGPT's laptop sizes, for one text and for 64 together, from one id up
to block_size (where keys and values are kept) and past it (where exactness takes the whole context for each token),
interleaved in one run. The last ratio is to the plain loop of one text past block_size, nanoGPT's steady state. The
weights are a model's first ones: the time does not depend on them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gptmodel.config import ModelParams, SampleParams
from gptmodel.determinism import use_threads
from gptmodel.nn.transformer import TransformerModel, build_model
from gptmodel.sampling.generate import generate

VOCAB = 65
LAPTOP = ModelParams(  # nanoGPT's README: "I only have a macbook"
    block_size=64,
    n_embd=128,
    n_head=4,
    n_layer=4,
    dropout=0.0,
    norm="pre",
    norm_type="layernorm",
    position="learned",
    activation="gelu",
    qk_norm=False,
    zero_init=False,
    logit_softcap=0.0,
    scale_embedding=False,
    ngram_orders=(),
    ngram_dropout=0.0,
)
TEMPERATURE = 0.8


@torch.no_grad()
def plain(model: TransformerModel, idx: Tensor, tokens: int) -> Tensor:
    """Continue idx (B, T) in the manner of nanoGPT's `generate`: a whole forward pass for each token."""
    block_size, generator = model.params.block_size, torch.Generator().manual_seed(1)
    for _ in range(tokens):
        logits = model(idx[:, -block_size:])[:, -1] / TEMPERATURE  # (B, V)
        following = torch.multinomial(F.softmax(logits, dim=-1), 1, generator=generator)  # (B, 1)
        idx = torch.cat((idx, following), dim=1)  # (B, T + 1)
    return idx


def ours(model: TransformerModel, idx: Tensor, tokens: int) -> Tensor:
    """Continue idx (B, T) with the library."""
    params = SampleParams(
        prompt="-",
        max_new_tokens=tokens,
        num_samples=idx.size(0),
        temperature=TEMPERATURE,
        top_k=0,
        top_p=1.0,
        seed=1,
        on_unknown="error",
        threads=torch.get_num_threads(),
        device="cpu",
    )
    drawn = list(generate(model, idx, params, torch.Generator().manual_seed(1)))
    return torch.cat((idx, torch.stack(drawn, dim=1)), dim=1)


def timed(function: Callable[..., Tensor], clock: Callable[[], float], *given: Any) -> tuple[float, Tensor]:
    """Return the time of one call and what it gave."""
    start = clock()
    found = function(*given)
    return clock() - start, found


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all cases in turn, round after round."""
    clock = time.process_time if given.cpu_time else time.perf_counter
    model = build_model(LAPTOP, VOCAB, torch.Generator().manual_seed(0)).eval()
    cases = [
        {"streams": streams, "prompt_tokens": prompt, "new_tokens": tokens, "tokens_that_differ": 0}
        for streams in given.streams
        for prompt, tokens in ((1, LAPTOP.block_size), (LAPTOP.block_size, given.past))
    ]
    rates: list[dict[str, list[float]]] = [{"plain": [], "ours": []} for _ in cases]
    for _ in range(given.rounds):
        for case, rate in zip(cases, rates, strict=True):
            shape, tokens = (case["streams"], case["prompt_tokens"]), case["new_tokens"]
            idx = torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(2))
            theirs, expected = timed(plain, clock, model, idx, tokens)
            mine, found = timed(ours, clock, model, idx, tokens)
            rate["plain"].append(case["streams"] * tokens / theirs)
            rate["ours"].append(case["streams"] * tokens / mine)
            case["tokens_that_differ"] += int((expected != found).sum())
    one = next(
        r for c, r in zip(cases, rates, strict=True) if c["streams"] == min(given.streams) and c["prompt_tokens"] > 1
    )
    return [
        case
        | {name: spread(values) for name, values in rate.items()}
        | {"ratio": spread([a / b for a, b in zip(rate["ours"], rate["plain"], strict=True)])}
        | {"ratio_to_one": spread([a / b for a, b in zip(rate["ours"], one["plain"], strict=True)])}
        for case, rate in zip(cases, rates, strict=True)
    ]


def spread(values: list[float]) -> dict[str, float]:
    """Return minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def shown(values: dict[str, float], digits: int) -> str:
    """Return the three as columns."""
    return " ".join(f"{value:10,.{digits}f}" for value in values.values())


def main() -> None:
    """Compare one text and many, within block_size and past it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--past", type=int, default=32, help="new tokens of the comparison past block_size")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of CPU: for one thread on a shared machine")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    given = parser.parse_args()
    use_threads(given.threads)  # as the stage does
    results = measure(given)
    unit = "tokens a second of CPU" if given.cpu_time else "tokens a second"
    if given.json:
        print(
            json.dumps({"unit": unit, "threads": given.threads, "rounds": given.rounds, "results": results}, indent=2)
        )
        return
    print(f"{unit}, threads: {given.threads}, rounds: {given.rounds}; columns: min, median, max")
    for found in results:
        print(
            "{streams} at once, prompt {prompt_tokens}, {new_tokens} new; {tokens_that_differ} differ".format(**found)
        )
        print(f"  plain loop                       {shown(found['plain'], 0)}")
        print(f"  ours                             {shown(found['ours'], 0)}")
        print(f"  ratio                            {shown(found['ratio'], 2)}")
        print(f"  to one text's plain loop at full {shown(found['ratio_to_one'], 2)}")


if __name__ == "__main__":
    main()
