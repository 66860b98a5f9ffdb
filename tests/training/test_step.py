"""One iteration: its numbers in a golden file, and what it does when the loss or the gradient is out of bounds."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from golden import make
from model_helpers import batch, copied, equal_states, small_model, train_params
from torch import Tensor
from torch.nn import functional as F

from gptmodel.compute.crew import ALONE, Crew
from gptmodel.compute.place import Place
from gptmodel.errors import TrainingError
from gptmodel.nn.transformer import TransformerModel
from gptmodel.optim.factory import build_optimizer
from gptmodel.training.step import Update, training_step

CPU = Place.on("cpu")
GOLDEN: dict[str, Any] = json.loads(make.FILE.read_text(encoding="utf-8"))
WHEN_TO_EDIT = (
    "one iteration has other numbers than tests/golden/one_iteration.json. That is legitimate only after a deliberate "
    "change of the model, its first weights, the loss or an optimizer: then run `python tests/golden/make.py` and say "
    "so in the changelog. A refactoring must not change them"
)


@pytest.mark.parametrize("case", make.CASES)
def test_one_iteration_has_the_golden_numbers(case: str) -> None:
    result, golden = make.one_iteration(case), GOLDEN[case]
    assert result["loss"] == pytest.approx(golden["loss"], rel=1e-5), WHEN_TO_EDIT
    assert list(result["parameters"]) == list(golden["parameters"]), WHEN_TO_EDIT
    for name, parameter in golden["parameters"].items():
        for kind, numbers in parameter.items():
            tolerance = 1e-4 * numbers["norm"] + 1e-9
            assert result["parameters"][name][kind] == pytest.approx(numbers, rel=0, abs=tolerance), (
                f"{name}, {kind}: {WHEN_TO_EDIT}"
            )


def test_the_golden_file_holds_the_cases_and_numbers_that_can_fail() -> None:
    assert list(GOLDEN) == list(make.CASES)
    for case in GOLDEN.values():
        norms = [parameter["gradient"]["norm"] for parameter in case["parameters"].values()]
        assert all(norm > 1e-6 for norm in norms), norms


def step(
    model: TransformerModel, pair: tuple[Tensor, Tensor], *, parts: int = 1, crew: Crew = ALONE, **changes: Any
) -> tuple[float, torch.optim.Optimizer]:
    """One iteration by plain SGD at a learning rate of 1 and no weight decay: the update is the gradient."""
    params = train_params(optimizer="sgd", weight_decay=0.0)
    optimizer = build_optimizer(model, params)
    update = Update(**({"iteration": 41, "learning_rate": 1.0, "grad_clip": 0.0} | changes))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    place = replace(CPU, crew=crew, parts=parts)
    return training_step(model, optimizer, scaler, pair, update, place), optimizer


def test_the_update_is_the_gradient_of_the_mean_loss_and_the_loss_is_that_before_the_update() -> None:
    model, pair = small_model(), (batch(seed=1), batch(seed=2))
    before = copied(dict(model.named_parameters()))
    expected = F.cross_entropy(model(pair[0]).flatten(0, 1), pair[1].flatten())
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    loss, _ = step(model, pair, learning_rate=0.5)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), before[name] - 0.5 * gradient, msg=lambda t, n=name: f"{n}: {t}")


def test_gradients_do_not_add_up_over_iterations_and_each_has_its_learning_rate() -> None:
    twice, once = small_model(), small_model()
    pair = (batch(seed=1), batch(seed=2))
    optimizer = build_optimizer(twice, train_params(optimizer="sgd", weight_decay=0.0))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for _ in range(2):
        update = Update(iteration=0, learning_rate=0.0, grad_clip=0.0)
        training_step(twice, optimizer, scaler, pair, update, CPU)
    assert equal_states(twice.state_dict(), once.state_dict())  # a learning rate of 0 changes nothing
    training_step(twice, optimizer, scaler, pair, Update(iteration=2, learning_rate=1.0, grad_clip=0.0), CPU)
    step(once, pair)
    assert equal_states(twice.state_dict(), once.state_dict())


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_nothing_is_updated_when_the_loss_is_not_finite(wrong: float, optimizer: str) -> None:
    model = small_model()
    built = build_optimizer(model, train_params(optimizer=optimizer))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    pair = (batch(seed=1), batch(seed=2))
    update = Update(iteration=41, learning_rate=0.125, grad_clip=1.0)
    training_step(model, built, scaler, pair, update, CPU)  # so that the optimizer has a state
    with torch.no_grad():
        model.decoder.bias[0] = wrong
    weights, state = copied(model.state_dict()), str(built.state_dict()["state"])
    with pytest.raises(TrainingError) as raised:
        training_step(model, built, scaler, pair, update, CPU)
    message = str(raised.value)
    assert "iteration 41" in message
    assert "learning rate of 0.125" in message
    assert "\n" not in message
    weights_after = model.state_dict()
    assert all(torch.equal(weights_after[name].nan_to_num(), weights[name].nan_to_num()) for name in weights)
    assert str(built.state_dict()["state"]) == state


def update_norm(grad_clip: float) -> float:
    model = small_model()
    before = copied(model.state_dict())
    step(model, (batch(seed=1), batch(seed=2)), grad_clip=grad_clip)
    after = model.state_dict()
    return math.sqrt(sum(float((after[name] - before[name]).double().square().sum()) for name in before))


def test_grad_clip_bounds_the_norm_of_the_whole_gradient_and_0_is_off() -> None:
    norm = update_norm(0.0)
    assert norm > 0.2
    assert update_norm(0.05) == pytest.approx(0.05, rel=1e-4)
    assert update_norm(2 * norm) == pytest.approx(norm, rel=1e-6)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "n-grams": {"ngram_orders": [2, 3]},
    "rmsnorm": {"norm_type": "rmsnorm", "norm": "pre"},
    "dropout": {"dropout": 0.3, "ngram_orders": [2], "ngram_dropout": 0.5},
}


@pytest.mark.parametrize("settings", [SETTINGS[name] for name in ("plain", "n-grams", "rmsnorm")])
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_parts_together_have_the_gradient_of_the_whole_batch(parts: int, settings: dict[str, Any]) -> None:
    whole, cut = small_model(**settings), small_model(**settings)
    pair = (batch(6, seed=1), batch(6, seed=2))
    loss, _ = step(whole, pair)
    assert step(cut, pair, parts=parts)[0] == pytest.approx(loss, rel=1e-6)
    for name, weight in cut.state_dict().items():
        torch.testing.assert_close(
            weight, whole.state_dict()[name], rtol=1e-4, atol=1e-6, msg=lambda t, n=name: f"{n}: {t}"
        )


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("parts", [2, 5, 8])
def test_how_many_threads_compute_the_parts_changes_no_bit(parts: int, settings: dict[str, Any]) -> None:
    pair = (batch(8, seed=1), batch(8, seed=2))
    states = []
    for size in (1, 2, 3, 8, 2, 2):
        model = small_model(**settings).train()
        step(model, pair, parts=parts, crew=Crew(size), dropout_seed=3 if "dropout" in settings else None)
        states.append(copied(model.state_dict()))
    assert all(equal_states(state, states[0]) for state in states[1:])


def test_each_part_drops_by_numbers_of_its_own() -> None:
    pair = (batch(2, seed=1), batch(2, seed=2))
    twin = (pair[0].repeat(2, 1), pair[1].repeat(2, 1))  # both parts have the same sequences
    once, both = (small_model(**SETTINGS["dropout"]).train() for _ in range(2))
    step(once, pair, dropout_seed=3)
    step(both, twin, parts=2, dropout_seed=3)
    assert not torch.allclose(once.decoder.bias, both.decoder.bias, rtol=1e-3)  # equal only if the masks were


def test_bfloat16_is_used_where_asked() -> None:
    pair = (batch(seed=1), batch(seed=2))
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = small_model()
        optimizer = build_optimizer(model, train_params())
        update = Update(iteration=0, learning_rate=0.1, grad_clip=0.0)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        losses[dtype] = training_step(model, optimizer, scaler, pair, update, replace(CPU, dtype=dtype))
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert losses[torch.bfloat16] != losses[torch.float32]
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], rel=0.02)
