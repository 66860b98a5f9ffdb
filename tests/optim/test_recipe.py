"""CONTRIBUTING's recipe for an optimizer, followed to the letter in a checkout of its own: Lion (Chen et al. 2023).

An optimizer that is only named, made and written down trains, is planned, is killed and goes on to the same bytes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
from attempts import ROOT
from projects import new_project

from gptmodel.config import SETTINGS_OF, TrainParams
from gptmodel.optim.factory import OPTIMIZERS

LION = '''"""Lion: the sign of a momentum (Chen et al. 2023)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gptmodel.optim.base import Optimizer


class Lion(Optimizer):
    """Moves each weight by the learning rate, in the direction of a mean of old gradients and the new one."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    def kept(self, weight: Tensor) -> dict[str, Any]:
        return {"mean": torch.zeros_like(weight)}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                state = self.state[p] = self.state[p] or self.kept(p)
                p.mul_(1.0 - lr * group["weight_decay"])
                p.add_(torch.sign(torch.lerp(p.grad, state["mean"], beta1)), alpha=-lr)
                state["mean"].lerp_(p.grad, 1.0 - beta2)
'''
FACTORY = """
def _lion(model: nn.Module, params: TrainParams) -> list[Optimizer]:
    from gptmodel.optim.lion import Lion

    assert params.beta1 is not None
    assert params.beta2 is not None
    return [Lion(_groups(model, params), lr=params.learning_rate, betas=(params.beta1, params.beta2))]


OPTIMIZERS["lion"] = _lion
"""
PATIENCE = 120.0


def test_every_optimizer_that_can_be_set_is_made_by_somebody_and_has_its_settings() -> None:
    assert set(OPTIMIZERS) == set(get_args(TrainParams.model_fields["optimizer"].annotation)) == set(SETTINGS_OF)


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with code of its own, to which the recipe was applied."""
    folder = tmp_path_factory.mktemp("lion") / "project"
    train = {"optimizer": "adamw", "max_iters": 300, "eval_interval": 100, "learning_rate": 0.001}
    new_project(folder, train=train, runtime={"mlflow": False, "snapshot_seconds": 0.05, "progress": "none"})
    for name in ("gptmodel", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "gptmodel" / "optim" / "lion.py").write_text(LION, encoding="utf-8")
    with (folder / "gptmodel" / "optim" / "factory.py").open("a", encoding="utf-8") as stream:
        stream.write(FACTORY)
    config = folder / "gptmodel" / "config.py"
    replaced(config, 'optimizer: Literal["sgd", "adamw", "muon"]', 'optimizer: Literal["sgd", "adamw", "muon", "lion"]')
    replaced(config, 'SETTINGS_OF = {"sgd": (),', 'SETTINGS_OF = {"lion": ("beta1", "beta2"), "sgd": (),')
    return folder


def started(checkout: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DVC_ROOT")}
    command = [sys.executable, "-m", *arguments, "-S", "train.optimizer=lion"]
    return subprocess.Popen(command, cwd=checkout, env=environment, stdout=-1, stderr=-1, text=True)


def run(checkout: Path, *arguments: str) -> str:
    """Run a command to its end, and return what it said on both streams."""
    output, errors = (process := started(checkout, *arguments)).communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return output + errors


@pytest.mark.slow
@pytest.mark.thorough
def test_it_trains_is_planned_is_killed_and_goes_on(checkout: Path) -> None:
    assert "parameters" in run(checkout, "stages.plan")
    run(checkout, "stages.train")
    model = checkout / "models" / "model.pth"
    straight = hashlib.sha256(model.read_bytes()).hexdigest()
    model.unlink()

    process, end = started(checkout, "stages.train"), time.monotonic() + PATIENCE
    while not list(checkout.glob("runs/*/snapshot-*[1-9]*.pt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not model.exists()
    assert "continued from iteration" in run(checkout, "stages.train")
    assert hashlib.sha256(model.read_bytes()).hexdigest() == straight
