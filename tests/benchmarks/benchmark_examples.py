"""Results of benchmarks with made-up figures, in the form that `measure` gives them; and tiny sizes."""

from typing import Any

from benchmarks.contestants.sizes import Sizes
from benchmarks.figures.results import described

TINY = Sizes(n_layer=1, n_head=2, n_embd=8, block_size=8, batch_size=2)
SPREAD = {"min": 1.0, "median": 2.0, "max": 4.0}
EXAMPLES: dict[str, dict[str, Any]] = {
    "train": {
        "threads": 2,
        "rounds": 3,
        "iterations": 5,
        "clock": "wall",
        "sizes": {
            "tutorial": {
                "sizes": "4 layers of 64",
                "tokens": 512,
                "operations": 700_000_000,
                "peak_gflops": SPREAD,
                "contestants": {
                    name: {
                        "milliseconds": SPREAD,
                        "times_as_fast": SPREAD,
                        "of_peak": {"min": 0.1, "median": 0.2, "max": 0.3},
                    }
                    for name in ("gptmodel", "plain loop")
                },
                "breakdown": {"matrix products": 0.7, "the rest": 0.3, "times as long when profiled": 1.2},
            }
        },
    },
    "startup": {
        "threads": 2,
        "rounds": 3,
        "commands": {"`dvc repro`, nothing to do": SPREAD},
        "contestants": {"gptmodel": {"built": SPREAD, "iterated": SPREAD}},
    },
    "memory": {
        "threads": 2,
        "rounds": 3,
        "iterations": 5,
        "training": {
            "tutorial": {
                "sizes": "4 layers of 64",
                "contestants": {"gptmodel": {"built": SPREAD, "trained": SPREAD, "times_ours": SPREAD}},
            }
        },
        "preparing": [{"megabytes": 20, "grown": SPREAD}],
    },
    "processes": {
        "rounds": 3,
        "sizes": {
            "tutorial": {
                "milliseconds": dict.fromkeys(("two threads", "two processes", "one thread"), SPREAD),
                "faster": SPREAD,
                "numbers": 209_230,
                "exchange": SPREAD,
            }
        },
    },
    "plan": {
        "threads": 2,
        "clock": "wall",
        "settings": {"wider": [{"what": "training", "seconds": 10.0, "planned": [9.0, 14.0]}]},
    },
    "evaluations": {
        "threads": 1,
        "rounds": 3,
        "iterations": 1500,
        "settings": [],
        "evaluations": 16,
        "batches": 400,
        "with_seconds": SPREAD,
        "without_seconds": SPREAD,
        "share": {"min": 0.05, "median": 0.1, "max": 0.15},
    },
    "lecture": {
        "text": {"name": "input.txt", "bytes": 1000, "sha256": 64 * "a"},
        "rounds": 3,
        "iterations": 1000,
        "threads": 2,
        "programs": {
            name: {"whole": SPREAD, "processor": SPREAD, "training": SPREAD, "val_loss": SPREAD}
            for name in ("the lecture's script", "`dvc repro`")
        },
        "times_as_fast": {"whole": SPREAD, "processor": SPREAD, "training": SPREAD},
    },
    "resume": {
        "kills": 3,
        "resumed_seconds": SPREAD,
        "snapshots": 20,
        "snapshot_milliseconds": SPREAD,
        "snapshot_bytes": 2_500_000,
        "snapshot_every": 30.0,
    },
    "loss": {
        "text": {"name": "input.txt", "bytes": 1000, "sha256": 64 * "a"},
        "levels": [1.8],
        "runs": {
            "laptop": [
                {
                    "settings": ["train.seed=1"],
                    "threads": 2,
                    "seconds": 60.0,
                    "tokens": 3_000_000,
                    "parameters": 200_000,
                    "history": [{"seconds": 1.0, "val_loss": 2.5}, {"seconds": 50.0, "val_loss": 1.7}],
                    "train": {"loss": 1.6, "tokens": 900},
                    "val": {"loss": 1.7, "tokens": 100},
                }
            ]
        },
    },
    "scaling": {
        "base": {"name": "nanogpt", "n_layer": 4, "n_embd": 128, "block_size": 64, "batch_size": 12},
        "threads": 2,
        "rounds": 3,
        "axes": {
            "n_layer": [{"value": value, "tokens": 768, "milliseconds": SPREAD} for value in (1, 2)],
            "threads": [{"value": 1, "tokens": 768, "milliseconds": SPREAD}],
        },
    },
}


def file_of(name: str) -> dict[str, Any]:
    """What the file of a benchmark holds."""
    return described(name, ["--rounds", "3"], 12.3, EXAMPLES[name])
