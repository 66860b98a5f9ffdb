"""Curves as numbers: what lies where, and round ticks."""

import pytest

from gptmodel.reporting.chart import HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, bar, chart


def test_a_curve_fills_its_frame() -> None:
    drawn = chart("Loss", "iteration", [0, 50, 100], {"train": [4.0, 2.0, 1.0], "val": [4.0, 3.0, 2.0]})
    train, val = (line.split() for line in drawn.lines)
    assert train[0] == f"{LEFT:.1f},{TOP:.1f}"
    assert train[-1] == f"{WIDTH - RIGHT:.1f},{drawn.bottom:.1f}"
    assert val[1].split(",")[0] == f"{(LEFT + WIDTH - RIGHT) / 2:.1f}"
    assert drawn.names == ["train", "val"]
    assert [tick.label for tick in drawn.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.label for tick in drawn.y_ticks] == ["1", "2", "3", "4"]
    assert all(TOP <= tick.at <= HEIGHT for tick in drawn.y_ticks)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (1.83, 1.92, ["1.84", "1.86", "1.88", "1.90", "1.92"]),
        (0, 5000, ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert [tick.label for tick in chart("", "", [low, high], {"a": [0.0, 1.0]}).x_ticks] == labels


def test_a_single_point_and_a_level_curve_are_drawn() -> None:
    alone = chart("Loss", "iteration", [0], {"train": [4.0], "val": [4.0]})
    assert alone.dots == [((LEFT + WIDTH - RIGHT) / 2, (TOP + alone.bottom) / 2)] * 2
    level = chart("Loss", "iteration", [0, 1], {"train": [4.0, 4.0]})
    assert level.dots == []
    assert len(level.lines[0].split()) == 2


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    x = list(range(100_001))
    (line,) = chart("", "", x, {"a": [float(value) for value in x]}).lines
    assert len(line.split()) <= MOST_POINTS + 1
    assert line.endswith(f"{WIDTH - RIGHT:.1f},{TOP:.1f}")


def test_bars() -> None:
    assert [bar(value, 6.0) for value in (6.0, 3.0, 0.0)] == [100.0, 50.0, 0.0]
    assert bar(0.0, 0.0) == 0.0
