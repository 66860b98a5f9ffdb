"""Evaluating beside the iterations: however fast or slow it is, nothing but the time differs from doing it in turn."""

import copy
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import equal_states, small_params
from training_helpers import Run, Watcher, new_state, plain_run, rows_without_time, trained, varied

from gptmodel.compute.crew import Crew
from gptmodel.compute.place import has_idle_cores
from gptmodel.data.corpus import prepare
from gptmodel.data.prepared import load_prepared
from gptmodel.errors import TrainingError
from gptmodel.evaluation import loss
from gptmodel.language_model import LanguageModel
from gptmodel.training import evaluator, loop
from gptmodel.training.loop import fit
from gptmodel.training.run import TrainingRun
from gptmodel.training.state import TrainingState

SETTINGS: dict[str, Any] = {
    "model": {"dropout": 0.2, "ngram_orders": [2], "kneser_ney": 3, "kneser_ney_share": 0.3},
    "train": {"max_iters": 8},  # evaluations due: 0 3 6 8
}


class Diary(Watcher):
    """An observer that writes down who told it what."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[str, int]] = []
        self.threads: set[int] = set()

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None:
        super().on_iteration(iteration, loss)
        self.entries.append(("iteration", iteration))
        self.threads.add(threading.get_ident())

    def on_evaluation(self, row: Any) -> None:
        super().on_evaluation(row)
        self.entries.append(("row", row.iteration))
        self.threads.add(threading.get_ident())


@pytest.fixture(params=["fast", "slow", "as it comes"])
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How long evaluations take: done before the next iteration, or not before the training waits for them."""
    if request.param == "slow":
        never_before_it_is_waited_for(monkeypatch)
    elif request.param == "fast":
        start = evaluator._Beside.start

        def start_and_wait(self: Any, evaluate: Any) -> None:
            start(self, evaluate)
            wait([self._pending])

        monkeypatch.setattr(evaluator._Beside, "start", start_and_wait)
    return str(request.param)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    never_before_it_is_waited_for(monkeypatch)


def never_before_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    collect, estimate = evaluator._Beside.collect, loop.estimate_loss

    def collected(self: Any, *, wait: bool) -> None:
        if wait and self._pending is not None:
            waiting.set()
        collect(self, wait=wait)

    def estimated(*args: Any, **options: Any) -> dict[str, float]:
        if threading.current_thread() is not threading.main_thread():
            assert waiting.wait(30), "nobody waits for this evaluation"
            waiting.clear()
        return estimate(*args, **options)

    monkeypatch.setattr(evaluator._Beside, "collect", collected)
    monkeypatch.setattr(loop, "estimate_loss", estimated)


def beside(**changes: Any) -> Run:
    return varied(plain_run(**SETTINGS), **{"beside": True, **changes})


def at_the_second(monkeypatch: pytest.MonkeyPatch, outcome: Callable[[], dict[str, float]]) -> None:
    """Let the evaluation at iteration 3 end otherwise."""
    estimate, calls = loop.estimate_loss, []

    def estimated(*args: Any, **options: Any) -> dict[str, float]:
        calls.append(args)
        losses = estimate(*args, **options)
        return outcome() if len(calls) == 2 else losses

    monkeypatch.setattr(loop, "estimate_loss", estimated)


def out_of_memory() -> dict[str, float]:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


@pytest.fixture(scope="module")
def end() -> TrainingState:
    """What a training comes to that evaluates in turn."""
    return trained(**SETTINGS)


def same(state: TrainingState, other: TrainingState) -> bool:
    """Whether two trainings are at the same point in all but their time."""
    own, expected = (each.state_dict() for each in (state, other))
    return (
        equal_states(own["model"], expected["model"])
        and str(own["optimizer"]) == str(expected["optimizer"])
        and state.iteration == other.iteration
        and rows_without_time(state) == rows_without_time(other)
    )


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("evaluation")]


@pytest.mark.usefixtures("slow")
def test_the_thread_that_trains_takes_its_share_instead_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "TOKENS_AT_ONCE", 8)  # a batch for each block
    scorers: list[int] = []
    state = new_state(**SETTINGS)

    def scored(model: Any, _args: Any, _out: Any) -> None:
        if not model.training:
            time.sleep(0.005)
            scorers.append(threading.get_ident())

    state.model.transformer.register_forward_hook(scored)
    assert fit(state, *beside()) is True
    own = scorers.count(threading.get_ident())
    assert 0 < own < len(scorers) == 4 * 2 * 6  # evaluations, splits, eval_iters * batch_size blocks of each
    assert rows_without_time(state) == rows_without_time(trained(**SETTINGS))


@pytest.mark.parametrize(("interval", "size"), [(1, 1), (3, 2), (100, 1)])
def test_weights_and_history_are_those_of_evaluating_in_turn(pace: str, interval: int, size: int) -> None:
    sections = {**SETTINGS, "train": {"max_iters": 8, "eval_interval": interval}}
    beside_iterations, in_turn = (
        trained(changed=lambda run, beside=beside: varied(run, beside=beside, crew=Crew(size)), **sections)
        for beside in (True, False)
    )
    assert same(beside_iterations, in_turn)
    assert len(beside_iterations.history) > 1
    seconds = [row.seconds for row in beside_iterations.history]
    assert seconds == sorted(seconds)
    assert beside_iterations.seconds >= seconds[-1]


def test_rows_are_told_in_order_by_the_thread_that_trains(pace: str) -> None:
    diary, in_turn = Diary(), Diary()
    state = new_state(**SETTINGS)
    assert fit(state, *beside(observer=diary))
    trained(changed=lambda run: varied(run, observer=in_turn), **SETTINGS)
    assert diary.rows == state.history
    assert diary.threads == {threading.get_ident()}
    for kind in ("iteration", "row"):
        assert [n for what, n in diary.entries if what == kind] == [n for what, n in in_turn.entries if what == kind]
    if pace == "fast":
        assert diary.entries == in_turn.entries
    if pace == "slow":  # each when the next one is due
        assert " ".join(f"{what[0]}{n}" for what, n in diary.entries) == "i1 i2 i3 r0 i4 i5 i6 r3 i7 i8 r6 r8"


def test_a_snapshot_lacks_no_row_and_is_resumed_to_the_same_end(
    pace: str, end: TrainingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = new_state(**SETTINGS)
    snapshots: list[dict[str, Any]] = []
    monkeypatch.setattr(loop.time, "monotonic", lambda: 10.0 * state.iteration)
    run = beside(snapshot_seconds=15.0, save=lambda s: snapshots.append(copy.deepcopy(s.state_dict())))
    assert fit(state, *run)
    assert [snapshot["iteration"] for snapshot in snapshots] == [2, 4, 6, 8]
    assert same(state, end)
    for snapshot in snapshots:
        rows = snapshot["history"]["iteration"].tolist()
        assert rows == [n for n in (0, 3, 6) if n <= snapshot["iteration"]]
        for resumed_beside in (False, True):
            resumed = new_state(1, **SETTINGS)
            resumed.load_state_dict(copy.deepcopy(snapshot))
            assert fit(resumed, *beside(beside=resumed_beside))
            assert same(resumed, end)


@pytest.mark.parametrize("last", [2, 3, 7])
def test_a_stop_saves_the_row_of_an_evaluation_under_way(pace: str, end: TrainingState, last: int) -> None:
    state = new_state(**SETTINGS)
    snapshots: list[list[int]] = []
    run = beside(
        stopped=lambda: state.iteration == last, save=lambda s: snapshots.append([row.iteration for row in s.history])
    )
    assert fit(state, *run) is False
    assert state.iteration == last
    assert snapshots == [[n for n in (0, 3, 6) if n <= last]]
    assert fit(state, *beside()) is True
    assert same(state, end)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(("in_turn", "due"), [(True, [0, 10, 20, 30]), (False, [0, 0, 10, 30])])
def test_a_row_has_the_time_when_it_was_due_and_the_training_the_time_it_waited(
    monkeypatch: pytest.MonkeyPatch, in_turn: bool, due: list[int]
) -> None:
    """Iterations take no time here, evaluations 10 seconds each."""
    clock, estimate = [0.0], loop.estimate_loss

    def estimated(*args: Any, **options: Any) -> dict[str, float]:
        losses = estimate(*args, **options)
        clock[0] += 10.0
        return losses

    monkeypatch.setattr(loop, "estimate_loss", estimated)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    state = new_state(**SETTINGS)
    assert fit(state, *beside(beside=not in_turn))
    assert [row.seconds for row in state.history] == due
    assert state.seconds == 40


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (
            lambda: {"train": 1.0, "val": float("nan")},
            r"the losses are 1\.0 \(train\) and nan \(val\) after iteration 3: lower",
        ),
        (out_of_memory, "^out of memory at iteration 3: lower train.batch_size"),
    ],
    ids=["not finite", "out of memory"],
)
def test_what_goes_wrong_in_an_evaluation_is_raised_with_its_iteration(
    pace: str, monkeypatch: pytest.MonkeyPatch, outcome: Callable[[], dict[str, float]], line: str
) -> None:
    at_the_second(monkeypatch, outcome)
    state, snapshots = new_state(**SETTINGS), []
    with pytest.raises(TrainingError, match=line):
        fit(state, *beside(save=snapshots.append))
    assert [row.iteration for row in state.history] == [0]
    assert state.iteration == 6 if pace == "slow" else 3 <= state.iteration <= 6
    assert snapshots == []


class Failing(Watcher):
    """An observer that fails in iteration 5."""

    def on_iteration(self, iteration: int, loss: Callable[[], float]) -> None:
        super().on_iteration(iteration, loss)
        if iteration == 5:
            raise TrainingError("the loss is nan")


@pytest.mark.usefixtures("slow")
def test_when_the_training_fails_the_evaluation_under_way_is_told_first() -> None:
    failing, state = Failing(), new_state(**SETTINGS)
    with pytest.raises(TrainingError, match="the loss is nan"):
        fit(state, *beside(observer=failing))
    assert [row.iteration for row in failing.rows] == [0, 3]


@pytest.mark.usefixtures("slow")
def test_of_two_failures_the_one_of_the_earlier_iteration_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_second(monkeypatch, lambda: {"train": float("inf"), "val": 1.0})
    with pytest.raises(TrainingError, match=r"the losses are inf .* after iteration 3") as caught:
        fit(new_state(**SETTINGS), *beside(observer=Failing()))
    assert str(caught.value.__context__) == "the loss is nan"


def test_the_thread_computes_as_the_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads, asked of OpenMP itself; and it leaves no gradient, no random draw and no mode behind."""
    libraries = Path("/proc/self/maps").read_text(encoding="utf-8").split() if sys.platform == "linux" else []
    openmp = next((word for word in libraries if "/torch/lib/libgomp" in word), None)  # others bring one too
    if openmp is None:
        pytest.skip("another OpenMP")
    most_threads = ctypes.CDLL(openmp).omp_get_max_threads
    states: list[tuple[int, bool, bool, bool]] = []
    default: list[int] = []
    estimate = loop.estimate_loss

    def spy(model: LanguageModel, *args: Any, **options: Any) -> dict[str, float]:
        gradients = any(p.grad is not None for p in model.transformer.parameters())
        main = threading.current_thread() is threading.main_thread()
        states.append((most_threads(), torch.are_deterministic_algorithms_enabled(), gradients, main))
        return estimate(model, *args, **options)

    monkeypatch.setattr(loop, "estimate_loss", spy)
    thread = threading.Thread(target=lambda: default.append(most_threads()))
    thread.start()
    thread.join()
    before = torch.get_num_threads(), torch.get_rng_state()
    torch.set_deterministic_debug_mode("error")
    torch.set_num_threads(default[0] + 1)
    crew = Crew(2, partial(torch.set_num_threads, default[0] + 1))
    try:
        assert fit(new_state(**SETTINGS), *varied(beside(), crew=crew))
    finally:
        torch.set_num_threads(before[0])
    assert states == [(default[0] + 1, True, False, False)] * 4
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize(
    ("device", "threads", "cores", "idle"),
    [
        ("cpu", 1, {0, 1}, True),
        ("cpu", 1, {3}, False),
        ("cpu", 2, {0, 1}, False),
        ("cpu", 2, {0, 1, 2}, False),
        ("cpu", 2, {0, 1, 2, 3}, True),
        ("cuda", 1, {0, 1}, False),
        ("mps", 1, {0, 1}, False),
    ],
)
def test_cores_are_idle_where_there_are_as_many_again_as_threads(
    monkeypatch: pytest.MonkeyPatch, device: str, threads: int, cores: set[int], idle: bool
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    assert has_idle_cores(torch.device(device), threads) is idle


@pytest.mark.parametrize(("cores", "expected"), [({0}, False), ({0, 1}, True)])
def test_a_run_evaluates_beside_its_iterations_where_cores_are_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: set[int], expected: bool
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    params = small_params()
    (tmp_path / "input.txt").write_text("a rose is a rose\n" * 30, encoding="utf-8")
    prepare(tmp_path / "input.txt", tmp_path / "prepared", params.prepare)
    with TrainingRun.open(tmp_path / "runs", load_prepared(tmp_path / "prepared"), params) as run:
        assert run.place.beside is expected
