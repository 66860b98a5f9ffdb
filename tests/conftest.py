"""What holds for every test: one thread, no trace left in torch's global state, nothing written into the project."""

import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # plain `pytest` puts tests/ there, whose folders have the names of packages
    sys.path.insert(0, str(ROOT))

from gptmodel.config import Params  # noqa: E402
from gptmodel.params_file import load_params  # noqa: E402

if TYPE_CHECKING:
    from projects import Project

# Folders and files whose tests are for CI, not for every save; and what of them is fast all the same.
THOROUGH = {"doctor", "export", "faults", "pipeline", "resume", "security", "serving", "tuning"}
THOROUGH |= {"test_another_platform.py", "test_mends.py", "test_verify.py", "test_verify_from_python.py"}
THOROUGH |= {"test_command.py", "test_evaluate.py", "test_frames.py", "test_mlflow_tracker.py", "test_plan_command.py"}
THOROUGH |= {"test_console.py", "test_output.py", "test_progress.py", "test_trials.py"}
SLOW = {"test_another_platform.py", "test_code.py", "test_killed_experiment.py", "test_mends.py"}  # even for CI
SLOW |= {"test_over_http.py", "test_places.py", "test_search_experiment.py", "test_training_on.py"}
FAST = {"test_dependencies.py", "test_engine.py", "test_stock.py"}
# The longest first (all but `make test` give whole files to the workers): at the end, none is busy alone for long.
LONGEST = ["test_verify.py", "test_kills.py", "test_processes.py", "test_compiled.py", "test_remotes.py"]
LONGEST += ["test_tracking_server.py", "test_compiler.py", "test_signals.py", "test_memory.py", "test_pipeline.py"]
LONGEST += ["test_another_platform.py", "test_mends.py", "test_deploy.py", "test_changed_source.py", "test_recipe.py"]
LONGEST += ["test_page.py", "test_fuzz.py", "test_malicious_files.py", "test_doctor.py", "test_links.py"]
LONGEST += ["test_compare_by_name.py"]
TOOLS = {"__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache", ".mypy_cache", ".coverage"}
SECONDS_OF_A_SLOW_TEST = 1800
STRICT = {"training", "evaluation", "sampling"}  # in nn the modules are built one by one, and draw as torch does


# `nohup`, and a script that runs this in the background, have all that is started ignore what tests send
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")  # a busy machine is no fault


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of whole folders and files, unless they are slow even for CI; put the longest files first."""
    for item in items:
        folder, file = item.path.parent.name, item.path.name
        if file in SLOW:
            item.add_marker("slow")
        if item.get_closest_marker("slow") is not None:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS_OF_A_SLOW_TEST))
        elif {folder, file} & THOROUGH and file not in FAST:
            item.add_marker("thorough")
    place = {file: number for number, file in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_sessionfinish() -> None:
    """Look for garbage once: pytest does so five times, and Python at its end, half a second each with torch."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's params.yaml, as it is now."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """A tiny project after a training that nothing happened to; do not change it."""
    from made_once import made_once
    from projects import JOURNAL_ONLY, Project, new_project

    def make(folder: Path) -> None:
        new_project(folder / "project").succeed("train", injuries=JOURNAL_ONLY)

    return Project(made_once(tmp_path_factory, "alone", make) / "project")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small models are fastest so, and the machine may be shared."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _torch_is_left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put torch's global state back after each test; where the library promises to leave it alone, changing it fails.

    A test that changes it on purpose does so inside `torch.random.fork_rng`.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    after = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    same = torch.equal(before[0], after[0]), before[1] == after[1], before[2] == after[2]
    torch.set_rng_state(before[0])
    torch.set_default_dtype(before[1])
    torch.set_num_threads(before[2])
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
    if request.path.parent.name in STRICT:  # here torch is to be left alone by everything the tests call
        assert same == (True, True, True), "the test changed torch's (default generator, default dtype, threads)"


@pytest.fixture(autouse=True)
def _nothing_is_written_into_the_project() -> Iterator[None]:
    before = {path.name for path in ROOT.iterdir()}
    yield
    new = {path.name for path in ROOT.iterdir()} - before - TOOLS
    assert not new, f"the test left {', '.join(sorted(new))} in the project's folder; use tmp_path"
