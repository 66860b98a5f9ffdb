"""Sampling.

Tokens a second at nanoGPT's laptop sizes, with a vocabulary of 65 and temperature 0.8, for one text and for several at
once. The plain loop, in nanoGPT's manner, gives the model the whole cropped context for each token. Up to block_size,
gptmodel, HF transformers and litgpt keep keys and values; litgpt continues one text only. Past block_size no key or
value can be kept, since all positions move: gptmodel saves the last block's work on all but one position, and the peers
do not go there. The last column compares with the plain loop that continues one text past block_size, which is where
nanoGPT spends most of a long text. The weights are a model's first ones: the time does not depend on them.
"""

import argparse
import time

import torch

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.samplers import LAPTOP, can_continue, samplers
from benchmarks.contestants.sizes import VOCAB
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, ratios, spread, table
from benchmarks.paths import ROOT
from gptmodel.compute.place import Place
from gptmodel.params_file import load_params


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("sample", __doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64], help="texts that are continued together")
    parser.add_argument("--past", type=int, default=32, help="new tokens of the comparison past block_size")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of CPU: for one thread on a shared machine")
    return parser


def measure(arguments: argparse.Namespace) -> Results:
    """Run all cases in turn, round after round."""
    settings = [f"sample.threads={arguments.threads}", "sample.device=cpu"]
    Place.of(load_params(ROOT / "params.yaml", settings), "sample")  # as the stage does
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    continues = samplers()
    lengths = ((1, LAPTOP.block_size), (LAPTOP.block_size, arguments.past))
    cases = [(streams, *length) for streams in arguments.streams for length in lengths]
    rates: list[dict[str, list[float]]] = [
        {name: [] for name in continues if can_continue(name, streams, prompt)} for streams, prompt, _ in cases
    ]
    differ = [0] * len(cases)
    for number in range(arguments.rounds):
        progress(f"sampling, round {number + 1} of {arguments.rounds}")
        for case, (streams, prompt, tokens) in enumerate(cases):
            idx = torch.randint(VOCAB, (streams, prompt), generator=torch.Generator().manual_seed(2))
            drawn = {}
            for name, values in rates[case].items():
                started = clock()
                drawn[name] = continues[name](idx, tokens)
                values.append(streams * tokens / (clock() - started))
            differ[case] += int((drawn["plain loop"] != drawn["gptmodel"]).sum())
    one = min(range(len(cases)), key=lambda case: (cases[case][0], -cases[case][1]))
    return {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "clock": "processor" if arguments.cpu_time else "wall",
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
            speed_up = "" if name == "gptmodel" else cell(case["ratio"][name], 2)
            over_one = cell(case["ratio_to_one"], 2) if name == "gptmodel" else ""
            rows.append((f"{case['streams']} at once, {where}", name, cell(rate, 0), speed_up, over_one))
    different = sum(case["tokens_that_differ"] for case in results["cases"])
    head = ("texts", "", "tokens/s", "speed-up of gptmodel", "speed-up over one text past block_size")
    return (
        f"{conditions(results)} {different} tokens of gptmodel differ from those of the plain loop.\n\n"
        f"{table(head, rows)}"
    )


if __name__ == "__main__":
    run(options(), measure, markdown)
