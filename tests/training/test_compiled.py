"""Trainings on compiled code: the same numbers within rounding, the same bytes each time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import VOCAB, batch, generator, scramble, small_model, small_params

from gptmodel.compute.compiler import find_compiler
from gptmodel.compute.place import Place
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import PreparedData, load_prepared
from gptmodel.nn.dropout import dropping_by
from gptmodel.training.compiled import compiled
from gptmodel.training.loop import Hooks, fit
from gptmodel.training.run import TrainingRun
from gptmodel.training.step import nats_of_all

CPU = torch.device("cpu")
ALL_SWITCHES = {
    "norm": "pre",
    "norm_type": "rmsnorm",
    "position": "rotary",
    "activation": "relu2",
    "qkv_bias": True,
    "qk_norm": True,
    "logit_softcap": 5.0,
    "tie_embeddings": True,
    "decoder_bias": False,
    "ngram_orders": [2],
    "ngram_dropout": 0.3,
    "dropout": 0.2,
    "attention_dropout": 0.4,
}
TAUGHT = {"teacher_order": 2, "teacher_share": 0.3}


@pytest.fixture
def _fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that has compiled nothing yet."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    threads = torch.get_num_threads()
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    torch.set_num_threads(threads)


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    (tmp_path / "input.txt").write_text("hello, world\n" * 40, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", small_params().prepare)
    return load_prepared(tmp_path / "prepared")


class Silent:
    """An observer that nothing is told by."""

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None: ...

    def on_evaluation(self, row: object) -> None: ...

    def on_warning(self, line: str) -> None:
        raise AssertionError(line)


def hooks(run: TrainingRun, stopped: Callable[[], bool] = lambda: False) -> Hooks:
    return Hooks(observer=Silent(), save=run.save, stopped=stopped)


def trained(folder: Path, data: PreparedData, stopped: Callable[[], bool] = lambda: False, **train: Any) -> bytes:
    """The bytes of model.pth after a training in `folder`; nothing when it was stopped."""
    params = small_params(train={"compile": True, "parts": 2, **TAUGHT, **train}, model={"dropout": 0.2})
    with TrainingRun.open(folder / "runs", data, params) as run:
        assert run.place.not_compiled == ""
        assert run.place.fingerprint["compiler"]
        assert run.place.crew.size == 1  # the threads are those of the compiled code
        if not fit(run.state, run.splits, params, run.place, hooks(run, stopped)):
            return b""
        run.finish(folder / "model.pth", folder / "train.json", folder / "history.csv")
    return (folder / "model.pth").read_bytes()


def test_without_being_asked_nothing_is_compiled() -> None:
    assert find_compiler(small_params(), CPU) == ("", "")
    assert "compiler" not in Place.of(small_params(), "train").fingerprint


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize(
    ("switches", "order"),
    [
        pytest.param({}, 0, id="tutorial", marks=pytest.mark.slow),
        pytest.param({**ALL_SWITCHES, "n_layer": 1}, 2, id="all switches, one layer", marks=pytest.mark.thorough),
        pytest.param(ALL_SWITCHES, 2, id="all switches", marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradients_are_those_of_the_model(switches: dict[str, Any], order: int) -> None:
    """Within rounding, with the same random numbers."""
    torch._dynamo.utils.counters.clear()
    model = scramble(small_model(**switches), std=0.2).train()
    train = small_params(train={"batch_size": 3, "teacher_order": order, "teacher_share": 0.3}).train
    targets = torch.softmax(torch.randn(3, 8, VOCAB, generator=generator(3)), -1) if order else batch(seed=2)
    nats, pair, weights = compiled(model, train, Place.on(CPU)), (batch(seed=1), targets), list(model.parameters())
    for seed in (1, 2):
        losses, gradients = [], []
        for function in (nats, nats_of_all):
            with dropping_by(generator(seed)):
                losses.append(function(model, *pair))
            gradients.append(torch.autograd.grad(losses[-1], weights))
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
        for (name, _), a, b in zip(model.named_parameters(), *gradients, strict=True):
            torch.testing.assert_close(a.to_dense(), b.to_dense(), rtol=1e-4, atol=1e-4, msg=name)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # compiled once
        assert not all(torch.equal(a.to_dense(), b.to_dense()) for a, b in zip(*gradients, strict=True))  # other code


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize(
    "dtype",
    ["float32", "bfloat16"],
)
def test_bytes_are_the_same_compiled_anew_and_resumed(tmp_path: Path, data: PreparedData, dtype: str) -> None:
    """A training in one go, and one whose code is compiled again, which stops in the middle and goes on."""
    from torch._inductor.utils import fresh_cache

    models = []
    for name, stops in (("whole", [[False] * 99]), ("stopped", [[False] * 4 + [True], [False] * 99])):
        torch.compiler.reset()
        cache = tmp_path / f"compiled-{name}"
        cache.mkdir()
        with fresh_cache(dir=str(cache), delete=False):
            *unfinished, model = [trained(tmp_path / name, data, iter(stop).__next__, dtype=dtype) for stop in stops]
        assert list(cache.rglob("*.so"))  # made now, and not found
        assert unfinished == [b""] * (len(stops) - 1)
        models.append(model)
    assert models[0] == models[1]


@pytest.mark.thorough
@pytest.mark.usefixtures("_fresh_compiler")
def test_a_process_compiles_for_any_number_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a worker of a search does: what is compiled for one of them does not count against the next."""
    import torch._dynamo.config

    whole = torch.compile

    def traced(function: Callable[..., Any], *, fullgraph: bool, dynamic: bool, **_: Any) -> Callable[..., Any]:
        return whole(function, backend="eager", fullgraph=fullgraph, dynamic=dynamic)  # no code: that takes a minute

    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    train = small_params(train={"compile": True}).train
    for dropout in (0.1, 0.2, 0.3, 0.4):
        compiled(small_model(dropout=dropout).train(), train, Place.on(CPU))


@pytest.mark.thorough
@pytest.mark.usefixtures("_fresh_compiler")
def test_without_a_compiler_training_goes_on_without(
    tmp_path: Path, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    with TrainingRun.open(tmp_path / "runs", data, small_params(train={"compile": True, "parts": 2})) as run:
        assert run.place.not_compiled.startswith("torch cannot compile here (")
        assert "a C++ compiler, such as g++" in run.place.not_compiled
        assert "compiler" not in run.place.fingerprint
        assert run.place.crew.size == 2
        assert fit(run.state, run.splits, run.params, run.place, hooks(run))
