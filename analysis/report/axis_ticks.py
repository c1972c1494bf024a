"""Where log axes get their numbers: round ones, enough of them, and never powers of ten that nobody reads."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sweeps.budget import format_core_hours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POWER_POINTS = 10.8
"""Type of powers of ten, whose exponents are printed at 0.7 of it."""
Ticks = tuple[list[float], list[str]]
_FINER = ((1, 2, 3, 5, 7), tuple(range(1, 10)), tuple(d / 10 for d in range(10, 100)))
"""Digits tried in turn where 1, 2 and 5 give fewer than three ticks."""


def compute_ticks(low: float, high: float, *, in_core_hours: bool) -> Ticks:
    """Returns ticks at 1, 2 and 5 times powers of ten, or fewer digits where the range is long."""
    decades = math.log10(high / low)
    digits = (1, 2, 5) if decades <= 3 else (1, 3) if decades <= 5 else (1,)
    ticks = _thinned(_multiples(low, high, digits), 10)
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


def count_ticks(low: float, high: float, *, most: int = 8) -> Ticks:
    """Returns at most so many ticks at round sizes, as people say them: 20M, 1B, 5T."""
    return _round_ticks(low, high, most, count_text)


def few_compute_ticks(low: float, high: float, *, in_core_hours: bool, most: int = 6) -> Ticks:
    """Returns ticks of compute for a narrow panel."""
    return _round_ticks(low, high, most, format_core_hours if in_core_hours else _power)


def factor_ticks(low: float, high: float) -> Ticks:
    """Returns ticks of a ratio: 1x, 2x, 5x, 10x."""
    return _round_ticks(low, high, 10, lambda value: f"{value:g}×" if value < 1e5 else f"{value:.0e}×")


def number_ticks(low: float, high: float, *, most: int = 6) -> Ticks:
    """Returns ticks at round numbers of a log axis."""
    return _round_ticks(low, high, most, lambda value: f"{value:g}")


def _round_ticks(low: float, high: float, most: int, text: Callable[[float], str]) -> Ticks:
    """Returns the densest round numbers within the range that are at most so many; more digits where it is short."""
    if not 0 < low < high < math.inf:
        return [], []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = _multiples(low, high, digits)
        if len(ticks) <= most:
            break
    if len(ticks) < 3:
        finer = [_multiples(low, high, digits) for digits in _FINER]
        ticks = next((some for some in finer if len(some) >= 3), ticks)
    ticks = _thinned(ticks, most)
    return ticks, [text(tick) for tick in ticks]


def _thinned(ticks: list[float], most: int) -> list[float]:
    return ticks[:: math.ceil(len(ticks) / most)] if ticks else ticks


def count_text(value: float) -> str:
    """Returns a number of parameters or examples as people say it: 70M, 1.4T, 950."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{name}" if value < 9995e12 else f"{value:.0e}".replace("e+", "e")
    return f"{value:.3g}"


def compute_text(value: float, *, in_core_hours: bool) -> str:
    """Returns one amount of compute in two digits: 5.5 x 10^18, or 12k."""
    if in_core_hours:
        return count_text(float(f"{value:.2g}"))
    digits, _, exponent = f"{value:.1e}".partition("e")
    digits = digits.removesuffix(".0")
    return rf"$10^{{{int(exponent)}}}$" if digits == "1" else rf"${digits}\!\times\!10^{{{int(exponent)}}}$"


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
    return compute_text(value, in_core_hours=False)


def set_ticks(axes: "Axes", which: str, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Puts ticks on the `x` or `y` axis and takes the minor ones away."""
    from matplotlib.ticker import NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(ticks), list(labels))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(which="both", length=3.5)
    if any("^" in label for label in labels):
        axis.set_tick_params(labelsize=POWER_POINTS)
