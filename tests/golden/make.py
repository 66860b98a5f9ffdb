"""One training iteration of a fixed model, and the golden file that holds its numbers.

`python tests/golden/make.py` writes tests/golden/one_iteration.json again. That is right only after a deliberate
change of the model, its first weights, the loss or an optimizer: then every model trained before differs from one
trained after, so say so in the changelog. A refactoring never changes these numbers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
FILE = HERE / "one_iteration.json"
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from model_helpers import batch, generator, model_params, train_params  # noqa: E402

from gptmodel.compute.place import Place  # noqa: E402
from gptmodel.nn.transformer import build_model  # noqa: E402
from gptmodel.optim.factory import build_optimizer  # noqa: E402
from gptmodel.training.step import Update, training_step  # noqa: E402

CASES: dict[str, dict[str, Any]] = {
    "tutorial": {"model": {"position": "none"}, "train": {"optimizer": "sgd", "learning_rate": 0.1}},
    "default": {"model": {}, "train": {}},
    "every switch": {
        "model": {
            "norm": "pre",
            "position": "rotary",
            "activation": "relu2",
            "scale_embedding": False,
            "ngram_orders": [2],
        },
        "train": {"weight_decay": 0.5, "grad_clip": 0.5},
    },
    "muon": {
        "model": {
            "norm": "pre",
            "norm_type": "rmsnorm",
            "position": "rotary",
            "qk_norm": True,
            "logit_softcap": 3.0,
            "ngram_orders": [2, 3],
        },
        "train": {"optimizer": "muon", "muon_lr": 0.1, "muon_momentum": 0.9, "weight_decay": 0.5},
    },
}


def one_iteration(name: str) -> dict[str, Any]:
    """Return the loss of a case's first iteration, and of each parameter its gradient and its update in two numbers."""
    case = CASES[name]
    model = build_model(model_params(**case["model"]), 11, generator(1))
    params = train_params(**case["train"])
    idx, targets = batch(3, 8, seed=1), batch(3, 8, seed=2)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    update = Update(iteration=0, learning_rate=params.learning_rate, grad_clip=params.grad_clip)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = training_step(model, build_optimizer(model, params), scaler, (idx, targets), update, Place.on("cpu"))
    parameters = {}
    for key, value in model.named_parameters():
        assert value.grad is not None
        change = value.detach() - before[key]
        parameters[key] = {"gradient": _numbers(value.grad), "update": _numbers(change)}
    return {"loss": loss, "parameters": parameters}


def _numbers(tensor: Tensor) -> dict[str, float]:
    """The norm, and the sum with fixed signs and sizes, which sees what the norm does not: order and sign."""
    flat = tensor.detach().to_dense().double().flatten()
    weights = torch.linspace(-1.0, 2.0, len(flat), dtype=torch.float64)
    return {"norm": float(f"{flat.norm():.9g}"), "weighted": float(f"{flat @ weights:.9g}")}


def main() -> None:
    torch.set_num_threads(1)
    FILE.write_text(json.dumps({name: one_iteration(name) for name in CASES}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
