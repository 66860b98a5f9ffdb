"""A GPU.

Checks: logits and gradients beside float64 on a CPU for the switches of the model, the same bytes twice, resumed
and captured as a CUDA graph, and what must go wrong in one line. Then iterations of gptmodel and of a plain loop of the
same model, in turn: PyTorch's attention and fused AdamW, bfloat16 by autocast, batches cut on the CPU. The peak is the
rate of products of two bfloat16 matrices of 8192 x 8192 on this card; `benchmarks/contestants/peak.py` says how the
operations of an iteration are counted. GPT-2's sizes have its vocabulary. Then whole trainings on a text, and sampling.
Deterministic algorithms are on in gptmodel and off in the plain loop, but where a row says otherwise.
"""

import argparse
import time
from pathlib import Path

from benchmarks.command import new_parser, progress, run
from benchmarks.figures.results import Results
from benchmarks.figures.tables import cell, table
from benchmarks.gpus import speed, trainings
from benchmarks.gpus.checks import checks
from benchmarks.gpus.sampling import sampling_rates
from benchmarks.gpus.setting import device_facts
from gptmodel.compute.place import pick_device
from gptmodel.errors import ConfigError

PARTS = ("trainings", "speed", "sampling", "checks")


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = new_parser("gpu", __doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--text", type=Path, help="what whole trainings train on; without it there are none")
    parser.add_argument("--parts", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument("--sizes", choices=speed.SIZES, nargs="*", default=list(speed.SIZES))
    parser.add_argument("--trainings", choices=trainings.TRAININGS, nargs="*", default=list(trainings.TRAININGS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a contestant in a round")
    parser.add_argument("--tiny", action="store_true", help="small enough for a CPU: to see that all of it runs")
    return parser


def measure(arguments: argparse.Namespace) -> Results:
    """Do the parts, in their order."""
    device, results = pick_device(arguments.device, "--device"), Results()
    results["device"], results["rounds"] = device_facts(device), arguments.rounds
    started = time.perf_counter()
    if "trainings" in arguments.parts and arguments.text is not None:
        picked = trainings.TINY if arguments.tiny else {name: trainings.TRAININGS[name] for name in arguments.trainings}
        results["trainings"] = {
            name: trainings.training(name, preset, settings, arguments.text, arguments.device)
            for name, (preset, settings) in picked.items()
        }
        progress(f"trainings: {time.perf_counter() - started:.0f} s")
    if "speed" in arguments.parts:
        results["peak"] = peak = speed.product_rate(arguments.device, tiny=arguments.tiny)
        chosen = speed.TINY if arguments.tiny else {name: speed.SIZES[name] for name in arguments.sizes}
        results["speed"] = {
            name: speed.speed_at(name, sizes, arguments.device, peak, arguments.seconds, arguments.rounds)
            for name, sizes in chosen.items()
        }
        progress(f"speed: {time.perf_counter() - started:.0f} s")
    if "sampling" in arguments.parts:
        sizes = speed.TINY["tiny"] if arguments.tiny else speed.SIZES["nanogpt on an A100"]
        streams, tokens = ([1, 2], 4) if arguments.tiny else ([1, 64, 1024], sizes.block_size - 1)
        results["sampling"] = sampling_rates(sizes, arguments.device, streams, tokens, arguments.rounds)
    if "checks" in arguments.parts:
        results["checks"] = []
        for check in checks(arguments.device, tiny=arguments.tiny):
            progress(f"{'ok    ' if check.good else 'WRONG '} {check.name}: {check.figure}")
            results["checks"].append({"name": check.name, "figure": check.figure, "good": check.good})
        progress(f"checks: {time.perf_counter() - started:.0f} s")
    return results


def markdown(results: Results) -> str:
    """Return the card, the checks, and a table of each part."""
    device = results["device"]
    facts = [f"{key} {device[key]}" for key in ("torch", "cuda", "cores") if key in device]
    memory = [f"{device['memory_gib']} GiB"] if "memory_gib" in device else []
    parts = [f"Device: {', '.join([device['name'], *memory, *facts])}. Rounds: {results['rounds']}."]
    if checked := results.get("checks", []):
        wrong = [row for row in checked if not row["good"]]
        parts.append(f"### Checks\n\n{len(checked) - len(wrong)} of {len(checked)} checks are good.")
        parts.append(table(("check", "outcome"), [(row["name"], row["figure"]) for row in (wrong or checked)]))
    for name, figures in results.get("speed", {}).items():
        rows = [
            (
                contestant,
                cell(row["milliseconds"], 3),
                f"{1e3 * figures['tokens'] / row['milliseconds']['median']:,.0f}",
                cell(row["times_as_fast"], 2),
                cell(row["of_peak"], 1, 100),
                row["note"].removeprefix("; ").replace("; ", ", "),
            )
            for contestant, row in figures["contestants"].items()
        ]
        head = ("", "ms an iteration", "tokens/s", "speed-up over the plain loop", "% of the peak", "")
        parts += [f"### Sizes of {name}: {figures['sizes']}", table(head, rows)]
        parts += [f"{contestant} failed: {reason}" for contestant, reason in figures["failed"].items()]
    if "peak" in results:
        parts.append(f"The peak was {results['peak'] / 1e12:,.0f} trillion operations a second.")
    if "trainings" in results:
        trained = [_training_row(name, row) for name, row in results["trainings"].items()]
        head = ("training", "iterations", "seconds", "seconds to 1.4697", "lowest val loss", "val loss at the end")
        parts += ["### Whole trainings", table(head, trained)]
    if "sampling" in results:
        rates = [(texts, cell(rate, 0)) for texts, rate in results["sampling"].items()]
        parts += ["### Sampling", table(("texts at once", "tokens/s"), rates)]
    return "\n\n".join(parts)


def _training_row(name: str, row: Results) -> tuple[str, ...]:
    reached = row["seconds_to_nanogpt"]
    return (
        name,
        f"{row['iterations']:,}",
        f"{row['seconds']:.1f}",
        "never" if reached is None else f"{reached:.1f}",
        f"{row['lowest']['val_loss']:.4f} at {row['lowest']['iteration']:,}",
        f"{row['val_loss']:.4f}",
    )


if __name__ == "__main__":
    try:
        run(options(), measure, markdown)
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None
