"""Tokens a second: ours, peers, and the plain loop, which gives the model the last block_size ids for each token.

`python -m benchmarks.sample` compares them at nanoGPT's laptop sizes, for one text and for 64 together, from one id up
to block_size (where keys and values are kept, by HF transformers and litgpt too) and past it (where exactness takes the
whole context for each token; the peers do not go there, and litgpt takes one text only), in rounds that take turns. The
last ratio is to the plain loop of one text past block_size, nanoGPT's steady state. The weights are a model's first
ones: the time does not depend on them.
"""

import argparse
import time

import torch

from benchmarks.models import VOCAB
from benchmarks.report import ROOT, Results, cell, options, progress, ratios, run, spread, table
from benchmarks.samplers import LAPTOP, enters, ready
from gptmodel.compute.place import Place
from gptmodel.params_file import load_params


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = options(__doc__)
    found.add_argument("--threads", type=int, default=2)
    found.add_argument("--rounds", type=int, default=7)
    found.add_argument("--streams", type=int, nargs="+", default=[1, 64])
    found.add_argument("--past", type=int, default=32, help="new tokens of the comparison past block_size")
    found.add_argument("--cpu-time", action="store_true", help="seconds of CPU: for one thread on a shared machine")
    return found


def measure(given: argparse.Namespace) -> Results:
    """Run all cases in turn, round after round."""
    settings = [f"sample.threads={given.threads}", "sample.device=cpu"]
    Place.of(load_params(ROOT / "params.yaml", settings), "sample")  # as the stage does
    clock = time.process_time if given.cpu_time else time.perf_counter
    runners = ready()
    lengths = ((1, LAPTOP.block_size), (LAPTOP.block_size, given.past))
    cases = [(streams, *length) for streams in given.streams for length in lengths]
    rates: list[dict[str, list[float]]] = [
        {name: [] for name in runners if enters(name, streams, prompt)} for streams, prompt, _ in cases
    ]
    differ = [0] * len(cases)
    for number in range(given.rounds):
        progress(f"sampling, round {number + 1} of {given.rounds}")
        for case, (streams, prompt, tokens) in enumerate(cases):
            idx = torch.randint(VOCAB, (streams, prompt), generator=torch.Generator().manual_seed(2))
            drawn = {}
            for name, values in rates[case].items():
                start = clock()
                drawn[name] = runners[name](idx, tokens)
                values.append(streams * tokens / (clock() - start))
            differ[case] += int((drawn["plain loop"] != drawn["gptmodel"]).sum())
    one = min(range(len(cases)), key=lambda case: (cases[case][0], -cases[case][1]))
    return {
        "threads": given.threads,
        "rounds": given.rounds,
        "clock": "processor" if given.cpu_time else "wall",
        "cases": [
            {
                **dict(zip(("streams", "prompt_tokens", "new_tokens"), case, strict=True)),
                "tokens_that_differ": different,
                "tokens_per_second": {name: spread(values) for name, values in rate.items()},
                "ratio": {name: ratios(rate["gptmodel"], values) for name, values in rate.items()},
                "ratio_to_one": ratios(rate["gptmodel"], rates[one]["plain loop"]),
            }
            for case, different, rate in zip(cases, differ, rates, strict=True)
        ],
    }


def markdown(results: Results) -> str:
    """Return a row for each contestant of each case."""
    rows = []
    for case in results["cases"]:
        where = "past block_size" if case["prompt_tokens"] > 1 else "up to block_size"
        for name, rate in case["tokens_per_second"].items():
            mine = name == "gptmodel"
            rows.append(
                (
                    f"{case['streams']} at once, {where}",
                    name,
                    cell(rate, 0),
                    "" if mine else cell(case["ratio"][name], 2),
                    cell(case["ratio_to_one"], 2) if mine else "",
                )
            )
    different = sum(case["tokens_that_differ"] for case in results["cases"])
    head = ("texts", "", "tokens/s", "ours is so many times as fast", "ours to one text's plain loop at full context")
    seconds = " Seconds are those of the processor." if results["clock"] == "processor" else ""
    return (
        f"Threads: {results['threads']}; rounds: {results['rounds']}. {different} tokens of ours differ from those of "
        f"the plain loop.{seconds}\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    run(parser(), measure, markdown)
