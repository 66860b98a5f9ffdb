"""Figures in words: how a cost grows, how a command is shown, and under which conditions something was measured."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.figures.growth import exponents, in_words, speed_up
from benchmarks.figures.results import command
from benchmarks.figures.tables import cell, conditions, spread


def points(time: Callable[[int], float]) -> list[dict[str, Any]]:
    return [{"value": value, "milliseconds": spread([time(value)])} for value in (1, 2, 4, 8)]


def test_growth_in_words() -> None:
    assert exponents(points(lambda value: value**2)) == pytest.approx([2, 2, 2])
    assert in_words(points(lambda value: value)) == "linear from 1 to 8 (exponent 1.00 to 1.00)"
    shown = in_words(points(lambda value: max(3, value) ** 1.5))
    assert shown == "less than linear from 1 to 4 (exponent 0.00 to 0.62), more than linear from 4 to 8 (exponent 1.50)"


def test_a_command_is_shown_without_places() -> None:
    words = ["presets/laptop.yaml", "--text", "/some/where/input.txt", "--json", "out.json", "-S", "train.lr=1"]
    assert command("loss", words) == "python -m benchmarks.loss presets/laptop.yaml --text input.txt -S train.lr=1"


def test_threads_are_said_as_a_speed_up() -> None:
    assert speed_up(points(lambda value: 8 / value)[:3]) == "a speed-up of 2.00 with 2 threads, 4.00 with 4 threads"
    assert speed_up(points(lambda value: value)[:1]) == "one thread only"


def test_conditions_name_what_there_is_and_the_clock_of_the_processor() -> None:
    assert conditions({"threads": 2, "rounds": 5, "clock": "wall"}) == "Threads: 2; rounds: 5."
    assert conditions({"threads": 1, "clock": "processor"}) == "Threads: 1. Seconds are those of the processor."


def test_a_cell_is_the_median_and_its_spread() -> None:
    assert cell(spread([0.3, 0.1, 0.2]), 0, 100) == "20 (10–30)"
