"""Made-up findings of all stages, for a report."""

from typing import Any

from model_helpers import language_model, small_model

from gptmodel.config import SECTIONS
from gptmodel.evaluation.history import Evaluation
from gptmodel.language_model import LanguageModel
from gptmodel.reporting.findings import Findings

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>&'\""
SPLIT = {"loss": 1.8310, "perplexity": 6.24, "bits_per_byte": 2.6416, "tokens": 499_815}
COPIES = {"bytes": 60, "longest": 15, "mean": 7.0, "share_8": 0.42, "share_16": 0.0, "share_32": None}


def findings(**changes: Any) -> Findings:
    """Made-up findings with a foreign text in them."""
    model = language_model(small_model())
    provenance = {"platform": {"torch": "2.13.0", "cpu_capability": MARKUP}, "train": SECTIONS["train"].defaults()}
    passage = {"tokens": ["a", MARKUP, "b"], "nats": [0.1, 6.0, 8.0]}
    values: dict[str, Any] = {
        "model": LanguageModel(model.transformer, model.tokenizer, None, provenance),
        "evaluation": {"train": SPLIT, "val": SPLIT, "gap": 0.0803, "verdict": "healthy", "counting_loss": 2.5074},
        "memorisation": {
            "sentence": "the longest passage copied is 15 characters",
            "samples": COPIES,
            "held_out": COPIES,
            "texts": [{"text": f"once upon {MARKUP}", "copied": [[0, 9]]}],
        },
        "history": [
            Evaluation(iteration=step, tokens=step, seconds=7.25, learning_rate=0.1, train_loss=3.0, val_loss=3.5)
            for step in (0, 5, 10)
        ],
        "positions": {"train": [3.0, 2.0], "val": [3.5, 2.5]},
        "baselines": {"uniform": 6.285, "xz": 2.415, "unigram": 4.807},
        "repeated": ["9.0% of the val split stands word for word in the train split"],
        "passages": {"hardest": [passage], "easiest": [passage]},
        "digests": {"model.pth": "0" * 64},
    }
    return Findings(**(values | changes))
