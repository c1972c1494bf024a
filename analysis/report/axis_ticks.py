"""Where log axes get their numbers: round ones, enough of them, and never powers of ten that nobody reads."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sweeps.budget import format_core_hours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Ticks = tuple[list[float], list[str]]


def compute_ticks(low: float, high: float, *, in_core_hours: bool) -> Ticks:
    """Returns ticks at 1, 2 and 5 times powers of ten, or fewer digits where the range is long."""
    decades = math.log10(high / low)
    digits = (1, 2, 5) if decades <= 3 else (1, 3) if decades <= 5 else (1,)
    ticks = _multiples(low, high, digits)
    return ticks, [format_core_hours(tick) if in_core_hours else _power(tick) for tick in ticks]


def loss_ticks(low: float, high: float) -> Ticks:
    """Returns between four and ten round losses within the range."""
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = _multiples(low, high, digits)
        if 4 <= len(ticks) <= 10:
            return ticks, [f"{tick:g}" for tick in ticks]
    step = _round_step((high - low) / 9)
    first = math.ceil(low / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return ticks, [f"{tick:.{places}f}" for tick in ticks]


def rate_ticks(rates: Iterable[float]) -> Ticks:
    """Returns the rates themselves, thinned where they are many."""
    ordered = sorted(rates)
    shown = ordered[:: math.ceil(len(ordered) / 9)]
    return shown, [f"{rate:.3g}" for rate in shown]


def _multiples(low: float, high: float, digits: Iterable[float]) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return sorted(digit * 10.0**k for k in exponents for digit in digits if low <= digit * 10.0**k <= high)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= rough), 10 * power)


def _power(value: float) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10.0**exponent)
    return rf"$10^{{{exponent}}}$" if digit == 1 else rf"${digit}\!\times\!10^{{{exponent}}}$"


def set_ticks(axes: "Axes", which: str, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Puts ticks on the `x` or `y` axis and takes the minor ones away."""
    from matplotlib.ticker import NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(ticks), list(labels))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(which="both", length=3.5)
