"""Sums up a tree: the additions are those of the tree, whoever adds them and whenever."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from gptmodel.compute.tree import TreeSum

TREES = {
    1: "0",
    2: "(0+1)",
    3: "((0+1)+2)",
    5: "(((0+1)+(2+3))+4)",
    6: "(((0+1)+(2+3))+(4+5))",
    7: "(((0+1)+(2+3))+((4+5)+6))",
}


def words(count: int) -> TreeSum[str]:
    return TreeSum(count, lambda first, second: f"({first}+{second})")


@pytest.mark.parametrize(("count", "expected"), TREES.items())
def test_the_order_in_which_terms_come_changes_no_addition(count: int, expected: str) -> None:
    for order in itertools.islice(itertools.permutations(range(count)), 0, None, 7):
        sums = words(count)
        for number in order:
            sums.put(number, str(number))
        assert sums.total() == expected


def test_threads_change_no_addition() -> None:
    random.seed(0)
    for _ in range(20):
        sums, order = words(37), random.sample(range(37), 37)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number, sums=sums: sums.put(number, str(number)), order))
        expected = words(37)
        for number in range(37):
            expected.put(number, str(number))
        assert sums.total() == expected.total()


@pytest.mark.parametrize(("processes", "size"), [(3, 1), (3, 2), (2, 4), (5, 2), (7, 8)])
def test_halves_of_a_power_of_two_can_be_summed_elsewhere(processes: int, size: int) -> None:
    whole, outer = words(processes * size), words(processes)
    for process in range(processes):
        inner = words(size)
        for number in range(size):
            inner.put(number, str(process * size + number))
            whole.put(process * size + number, str(process * size + number))
        outer.put(process, inner.total())
    assert outer.total() == whole.total()


def test_in_turn_no_more_terms_are_held_than_the_tree_has_levels() -> None:
    sums, most = words(1000), 0
    for number in range(1000):
        sums.put(number, "x")
        most = max(most, len(sums._waiting))
    assert most == 9
