"""The figure of profile curves: how much worse the fit gets when one parameter is held."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.laws import Floats
from analysis.report.axis_ticks import number_ticks, set_ticks
from analysis.report.figure_style import (
    BLUE,
    INK,
    RED,
    new_figure,
    number_text,
    source_title,
    symbol,
    tidy,
)
from analysis.result import ScalingFit
from analysis.trust.profile_curves import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HIGHEST = 2.6
"""Multiples of the critical rise up to which curves are shown."""
_FLAT = 0.02
"""A curve that rises by less than this part of the critical rise tells nothing."""
_LEAST_WITHIN = 4
"""Values tried that must lie within a panel: fewer do not show the curve's course."""
_LOG_FROM = 8.0
"""Values that span more than this factor stand on a log axis."""
_MOST_PANELS = 9


def profile_figure(result: ScalingFit) -> "Figure | None":
    """Returns a panel for each profile: its rise, the critical one, and the interval between the crossings."""
    found = [profile for profile in result.trust.profiles if _is_drawable(profile)][:_MOST_PANELS]
    if not found:
        return None
    columns = len(found) if len(found) <= 3 else math.ceil(len(found) / 2) if len(found) <= 6 else 3
    rows = math.ceil(len(found) / columns)
    figure = new_figure(
        max(2.9 * columns + 0.6, 5.0), 2.5 * rows + 1.0,
        f"How well each parameter is known: {source_title(result.points)}",
        "curve: one parameter held, all others free to follow",
        f"dashed, shaded: the {result.fit.level:.0%} profile interval",
        *([f"left out, too few values tried to show their course: {left}"] if (left := _left_out(result)) else []),
    )  # fmt: skip
    panels = figure.subplots(rows, columns, squeeze=False)
    flat: list[Axes] = [panel for row in panels for panel in row]
    for panel in flat[len(found) :]:
        panel.set_visible(False)
    for i, (panel, profile) in enumerate(zip(flat, found, strict=False)):
        _draw(panel, profile, result)
        if i % columns == 0:
            panel.set_ylabel("rise of −2 log likelihood")
    return figure


def _left_out(result: ScalingFit) -> str:
    return ", ".join(symbol(p.parameter) for p in result.trust.profiles if not _is_drawable(p))


def _is_drawable(profile: Profile) -> bool:
    values, rise = np.asarray(profile.values), np.asarray(profile.rise)
    return bool(
        len(values) >= 3
        and np.isfinite(values).all()
        and np.isfinite(rise).all()
        and np.ptp(values) > 0
        and math.isfinite(profile.critical)
        and rise.max() > _FLAT * profile.critical > 0
        and (rise <= _HIGHEST * profile.critical).sum() >= _LEAST_WITHIN
    )


def _draw(panel: "Axes", profile: Profile, result: ScalingFit) -> None:
    is_log, x, rise = _curve(profile)
    if is_log:
        panel.set_xscale("log")
    top = _HIGHEST * profile.critical
    panel.axhline(profile.critical, color=RED, linewidth=1.0, linestyle=(0, (5, 3)), zorder=2)
    low = x[0] if profile.low is None else profile.low
    high = x[-1] if profile.high is None else profile.high
    panel.axvspan(low, high, color=BLUE, alpha=0.12, linewidth=0, zorder=0)
    panel.plot(x, rise, color=BLUE, linewidth=1.6, zorder=3)
    tried = profile.rise <= top
    panel.plot(
        profile.values[tried], profile.rise[tried], color=BLUE, linewidth=0, marker="o", markersize=2.6, zorder=4
    )
    estimate = result.fit.parameters.get(profile.parameter)
    if estimate is not None and x[0] <= estimate.value <= x[-1]:
        panel.axvline(estimate.value, color=INK, linewidth=0.9, zorder=2)
    panel.set_ylim(0.0, top)
    panel.set_xlim(float(x[0]), float(x[-1]))
    _frame(panel, profile, is_log=is_log)


def _curve(profile: Profile) -> tuple[bool, Floats, Floats]:
    """Returns whether the axis is logarithmic, and the curve as far as it stays within the panel.

    The signed root of the rise is nearly straight, so it is what is interpolated.
    """
    values, rise = np.asarray(profile.values, dtype=np.float64), np.asarray(profile.rise, dtype=np.float64)
    least = int(np.argmin(rise))
    within = np.flatnonzero(rise <= _HIGHEST * profile.critical)
    first, last = max(int(within[0]) - 1, 0), min(int(within[-1]) + 1, len(values) - 1)
    root = np.sqrt(rise) * np.where(np.arange(len(rise)) < least, -1.0, 1.0)
    ends = [float(values[first]), float(values[last])]
    limit = math.sqrt(_HIGHEST * profile.critical)
    # The frame ends where the curve leaves it, not at the next value tried.
    if last > least and root[last] > limit:
        ends[1] = float(np.interp(limit, root[last - 1 : last + 1], values[last - 1 : last + 1]))
    if first < least and root[first] < -limit:
        ends[0] = float(np.interp(-limit, root[first : first + 2], values[first : first + 2]))
    is_log = ends[0] > 0 and ends[1] / ends[0] > _LOG_FROM
    x = np.geomspace(ends[0], ends[1], 160) if is_log else np.linspace(ends[0], ends[1], 160)
    return is_log, x, np.interp(x, values, root) ** 2


def _frame(panel: "Axes", profile: Profile, *, is_log: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    if is_log:
        set_ticks(panel, "x", *number_ticks(*panel.get_xlim(), most=4))
    else:
        panel.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
        panel.ticklabel_format(axis="x", useOffset=False, style="plain")
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    tidy(panel)
    panel.set_title(f"{symbol(profile.parameter)}   {_interval_text(profile)}", loc="left", fontsize=10)


def _interval_text(profile: Profile) -> str:
    if profile.low is None and profile.high is None:
        return "no end within the values tried"
    if profile.low is None:
        return f"below {number_text(profile.high or math.nan)}"
    if profile.high is None:
        return f"above {number_text(profile.low)}"
    return f"{number_text(profile.low)} to {number_text(profile.high)}"
