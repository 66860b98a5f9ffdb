"""A crew: results in order, errors raised after all have ended, threads that really run side by side."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gptmodel.compute.crew import Crew

SIZES = (1, 2, 3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_calls(size: int, count: int) -> None:
    assert Crew(size).together([lambda number=number: number * 10 for number in range(count)]) == [
        number * 10 for number in range(count)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_map_keeps_the_order_and_holds_no_more_parts_than_there_are_threads(size: int) -> None:
    numbers, parts_out, most = iter(range(30)), set(), []

    def parts() -> Iterator[int]:
        for number in numbers:
            parts_out.add(number)
            yield number

    def work(number: int) -> int:
        most.append(len(parts_out))
        time.sleep(0.001 * (number % 3))
        parts_out.remove(number)
        return number**2

    assert Crew(size).map(work, parts()) == [number**2 for number in range(30)]
    assert max(most) == size


@pytest.mark.parametrize("size", SIZES)
def test_map_raises_the_first_error_and_takes_no_part_after_it(size: int) -> None:
    """The other threads hold a part each until the error has ended the sharing out, and then find no more."""
    numbers, given_up = list[int](), threading.Event()

    class Parts:
        def __iter__(self) -> Iterator[int]:
            try:
                yield from range(12)
            finally:  # as soon as nobody holds this iterator
                given_up.set()

    def work(number: int) -> int:
        numbers.append(number)
        if number > 2:
            given_up.wait(2)
        return 1 // (number - 2)

    with pytest.raises(ZeroDivisionError):
        Crew(size).map(work, Parts())
    assert sorted(numbers) == [*range(len(numbers))]
    assert 3 <= len(numbers) <= 2 + size
    assert Crew(size).map(work, []) == []


@pytest.mark.parametrize("wrong", [True, False])
def test_a_thread_that_joins_takes_its_share_of_a_map_under_way(wrong: bool) -> None:
    crew, begun, joined = Crew(1), threading.Event(), threading.Event()
    crew.join()  # nothing is under way

    def work(number: int) -> int:
        if threading.current_thread() is threading.main_thread():
            joined.set()
            if wrong:
                raise ValueError("the one who joined failed")
            return -number
        begun.set()
        assert joined.wait(10)
        return number

    with ThreadPoolExecutor(1) as other:
        result = other.submit(crew.map, work, range(1, 9))
        assert begun.wait(10)
        crew.join()
        if wrong:
            with pytest.raises(ValueError, match="the one who joined failed"):
                result.result()
            return
        assert [abs(number) for number in result.result()] == list(range(1, 9))
        assert min(result.result()) < 0 < max(result.result())
    crew.join()


@pytest.mark.parametrize("joins", [True, False])
def test_parts_that_cannot_be_made_are_an_error_of_the_map_whoever_meets_it(joins: bool) -> None:
    crew, begun, joined = Crew(1), threading.Event(), threading.Event()

    def parts() -> Iterator[int]:
        yield 1
        raise MemoryError("no part")

    def work(number: int) -> int:
        begun.set()
        assert not joins or joined.wait(10)
        return number

    with ThreadPoolExecutor(1) as other:
        result = other.submit(crew.map, work, parts())
        if joins:
            assert begun.wait(10)
            crew.join()  # meets it, and returns
            joined.set()
        with pytest.raises(MemoryError, match="no part"):
            result.result()


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
