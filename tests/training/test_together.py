"""Processes that train together: the bytes of one process, whoever computes which part, and one word for all."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from model_helpers import ROOT
from rank_digests import SETTINGS, digests

from gptmodel.compute.ranks import ALONE_WORLD, World
from gptmodel.errors import ConfigError

pytestmark = pytest.mark.thorough
AGENT = """
import sys
from gptmodel.compute.agent import run_agent
sys.exit(run_agent(int(sys.argv[1]), 0, 60, sys.argv[2:]))
"""
Told = Callable[[int], dict[str, Any]]
THREADS = {2: ["1", "2"], 4: ["1"]}
"""Of each process, by the number of processes: what they do one after the other."""
SHARED = pytest.mark.parametrize(("processes", "threads"), [(n, threads) for n in THREADS for threads in THREADS[n]])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What so many processes wrote of their trainings."""

    @cache
    def run(processes: int) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("ranks")
        words = [sys.executable, str(ROOT / "tests" / "rank_digests.py"), str(folder), *THREADS[processes]]
        subprocess.run([sys.executable, "-c", AGENT, str(processes), *words], cwd=ROOT, check=True, timeout=240)
        result: dict[str, Any] = json.loads((folder / "digests.json").read_text(encoding="utf-8"))
        return result

    return run


@pytest.fixture(scope="module")
def in_turn() -> dict[str, str]:
    return digests(ALONE_WORLD)


def test_threads_give_the_bytes_of_one_part_after_the_other(in_turn: dict[str, str]) -> None:
    assert digests(ALONE_WORLD, threads=4) == in_turn
    assert len(set(in_turn.values())) == len(SETTINGS)


@SHARED
@pytest.mark.parametrize("name", SETTINGS)
def test_processes_give_the_bytes_of_one(
    name: str, processes: int, threads: str, told: Told, in_turn: dict[str, str]
) -> None:
    assert told(processes)["digests"][threads][name] == in_turn[name]


@pytest.mark.parametrize("processes", [2, 4])
def test_all_processes_say_and_do_the_same(processes: int, told: Told) -> None:
    lines = told(processes)["lines"]
    assert "at a learning rate of 1e+30; nothing was updated" in lines["loss"]
    assert lines["weights"].startswith(f"process 1 of {processes} (counted from 0) has other weights than the first")
    assert lines["facts"] == f"process 1 of {processes} (counted from 0) has another"
    assert lines["agreed"] == "[(True, False), (False, False)]"
    assert lines["sent"] == "[b'abc', None]"


@pytest.mark.parametrize(("parts", "size"), [(1, 1), (6, 1), (4, 2), (4, 4), (6, 3), (6, 6), (12, 3)])
def test_each_process_has_as_many_parts(parts: int, size: int) -> None:
    shares = [World(rank, size).share(parts) for rank in range(size)]
    assert [number for share in shares for number in share] == list(range(parts))
    assert len({len(share) for share in shares}) == 1


@pytest.mark.parametrize(
    ("parts", "size", "mend"),
    [
        (1, 2, "set it to 2 or 4, or take 1 of them"),
        (6, 2, "set it to 2 or 4, or take 1 or 3 or 6 of them"),
        (4, 3, "set it to 3 or 6, or take 1 or 2 or 4 of them"),
    ],
)
def test_parts_that_cannot_be_shared_are_refused_with_what_fits(parts: int, size: int, mend: str) -> None:
    with pytest.raises(ConfigError) as raised:
        World(0, size).share(parts)
    assert str(raised.value) == f"train.parts = {parts}: cannot be shared by {size} processes; {mend}"
