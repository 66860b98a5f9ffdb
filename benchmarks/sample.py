"""Sampling.

Tokens a second at nanoGPT's laptop sizes, with a vocabulary of 65 and temperature 0.8, for one text and for several at
once. The plain loop, in nanoGPT's manner, gives the model the whole cropped context for each token. Up to block_size,
gptmodel, HF transformers and litgpt keep keys and values; litgpt continues one text only. Past block_size no key or
value can be kept while each token pushes the oldest out, since all positions move: there gptmodel saves the last
block's work on all but one position. "gptmodel, shift" is `sample.past_block: shift`, which forgets half of a full
block at once and keeps keys and values until it is full again. The peers do not go past block_size. The last column
compares with the plain loop that continues one text past block_size, which is where nanoGPT spends most of a long
text. The weights are a model's first ones: the time does not depend on them.
"""

import argparse
import time

import torch

from benchmarks.command import new_parser, progress, run
from benchmarks.contestants.samplers import CROP, LAPTOP, PLAIN, SHIFT, can_continue, samplers
from benchmarks.contestants.sizes import VOCAB
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, conditions, ratios, spread, table
from benchmarks.paths import ROOT
from gptmodel.compute.place import Place
from gptmodel.params_file import load_params

OURS = (CROP, SHIFT)


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("sample", __doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64], help="texts that are continued together")
    parser.add_argument("--past", type=int, default=LAPTOP.block_size, help="new tokens past block_size")
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
            differ[case] += int((drawn[PLAIN] != drawn[CROP]).sum())
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
                "ratio": {
                    mine: {
                        name: ratios(rate[mine], values) for name, values in rate.items() if name not in (mine, SHIFT)
                    }
                    for mine in OURS
                    if mine in rate
                },
                "ratio_to_one": {mine: ratios(rate[mine], rates[one][PLAIN]) for mine in OURS if mine in rate},
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
            speed_ups = [_cell(case["ratio"].get(mine, {}), name) for mine in OURS]
            over_one = _cell(case["ratio_to_one"], name)
            rows.append((f"{case['streams']} at once, {where}", name, cell(rate, 0), *speed_ups, over_one))
    different = sum(case["tokens_that_differ"] for case in results["cases"])
    speed_ups = [f"speed-up of {mine}" for mine in OURS]
    head = ("texts", "", "tokens/s", *speed_ups, "speed-up over one text past block_size")
    return (
        f"{conditions(results)} {different} tokens of gptmodel differ from those of the plain loop.\n\n"
        f"{table(head, rows)}"
    )


def _cell(figures: Results, name: str) -> str:
    return cell(figures[name], 2) if name in figures else ""


if __name__ == "__main__":
    run(options(), measure, markdown)
