"""A crew: results in order, errors raised after all have ended, threads that really run side by side."""

import threading
from collections.abc import Iterator

import pytest

from gptmodel.crew import Crew

SIZES = (1, 2, 3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_calls(size: int, count: int) -> None:
    assert Crew(size).together([lambda number=number: number * 10 for number in range(count)]) == [
        number * 10 for number in range(count)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_map_keeps_the_order_and_takes_no_more_parts_than_there_are_threads(size: int) -> None:
    taken = []

    def parts() -> Iterator[int]:
        for number in range(7):
            taken.append(number)
            yield number

    results = Crew(size).map(lambda number: number**2, parts())
    assert next(results) == 0
    assert taken == list(range(size))
    assert list(results) == [number**2 for number in range(1, 7)]


def test_as_many_calls_as_threads_run_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    assert sorted(Crew(3).together([together.wait] * 3)) == [0, 1, 2]  # with fewer at once the barrier breaks


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_is_raised_when_all_calls_have_ended(wrong: int) -> None:
    ended = []

    def fail() -> None:
        raise ValueError("a call failed")

    calls = [lambda: ended.append(True)] * 2
    calls.insert(wrong, fail)
    with pytest.raises(ValueError, match="a call failed"):
        Crew(2).together(calls)
    assert len(ended) == 2
