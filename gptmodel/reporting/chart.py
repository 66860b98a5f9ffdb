"""Curves as the numbers that an SVG needs: ticks, lines and labels, in the units of its view box. Pure functions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 28, 12, 28
MOST_POINTS = 400
"""Of a curve: a screen shows no more, and a page should stay small."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Curves over a common axis."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    names: list[str]
    lines: list[str]
    """Of each curve, the points as SVG writes them."""
    dots: list[tuple[float, float]]
    """Of curves that have a single point, that point."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(title: str, x_label: str, x: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Chart:
    """Draw curves, by name, of as many values as x has: one at least."""
    step = -(-len(x) // MOST_POINTS)
    chosen = sorted({*range(0, len(x), step), len(x) - 1})
    values = [value for curve in curves.values() for value in curve]
    x_axis = _Axis(min(x), max(x), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(min(values), max(values), HEIGHT - BOTTOM, TOP)
    points = [[(x_axis.place(x[index]), y_axis.place(curve[index])) for index in chosen] for curve in curves.values()]
    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
        names=list(curves),
        lines=[" ".join(f"{across:.1f},{down:.1f}" for across, down in curve) for curve in points],
        dots=[curve[0] for curve in points if len(curve) == 1],
    )


def bar(value: float, largest: float) -> float:
    """Return the length of a bar in per cent."""
    return round(100 * value / largest, 1) if largest else 0.0


class _Axis:
    """Values between two ends on a line between two places."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high <= low:
            low, high = low - 0.5, high + 0.5
        self._low, self._high, self._start, self._end = low, high, start, end

    def place(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> list[Tick]:
        """Return about five round values."""
        rough = (self._high - self._low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)
        digits = max(0, -math.floor(math.log10(step)))
        numbers = range(math.ceil(self._low / step - 1e-9), math.floor(self._high / step + 1e-9) + 1)
        return [Tick(self.place(number * step), f"{number * step:,.{digits}f}") for number in numbers]
