"""The figure of the rolling back-test: how wrong predictions of dearer runs were, by how far they reached."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.report.axis_ticks import factor_ticks, set_ticks
from analysis.report.figure_style import (
    BLUE,
    INK,
    ORANGE,
    is_raster,
    new_figure,
    source_title,
    thinned,
    tidy,
)
from analysis.result import ScalingFit
from analysis.trust.backtest import FactorBin, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST = 5
"""Predictions worth a figure."""
_LAST_BIN = 1.5
"""The last range is drawn at least this factor wide, so that its numbers have room."""


def backtest_figure(result: ScalingFit) -> "Figure | None":
    """Returns the error of each prediction against its extrapolation factor, with each bin's spread and coverage.

    None without a back-test, or with hardly a prediction.
    """
    tested = result.trust.backtest
    found = [] if tested is None else [p for p in tested.predictions if _is_drawable(p)]
    if tested is None or len(found) < _LEAST or max(p.factor for p in found) <= 1.02:
        return None
    level = f"{result.fit.level:.0%}"
    figure = new_figure(
        8.4, 5.0, f"Predictions from cheaper runs: {source_title(result.points)}",
        f"{len(found):,} predictions by {len(tested.cuts)} fits to what was cheaper than a cut",
        f"○ within its {level} prediction interval   × outside",
        "line: median of a range, band: ± root mean square",
    )  # fmt: skip
    axes = figure.add_subplot()
    axes.set_xscale("log")
    last = max((b.low for b in tested.bins), default=1.0)
    farthest = max(1.12 * max(p.factor for p in found), _LAST_BIN * last)
    _draw_dots(axes, found)
    bins = [b for b in tested.bins if b.predictions and b.low < farthest]
    for b in bins:
        _draw_bin(axes, b, found, farthest)
    axes.axhline(0.0, color=INK, linewidth=0.9, zorder=2)
    _frame(axes, found, bins, farthest)
    above = f"above: share within the {level} prediction interval, and number of predictions"
    axes.set_title(above, loc="right", fontsize=8, color=INK)
    return figure


def _is_drawable(prediction: Prediction) -> bool:
    return bool(np.isfinite(prediction.error) and np.isfinite(prediction.factor) and prediction.factor >= 1.0)


def _percent(log_error: float) -> float:
    return 100 * float(np.expm1(min(log_error, 50.0)))


def _draw_dots(axes: "Axes", found: Sequence[Prediction]) -> None:
    shown = [found[i] for i in thinned(len(found))]
    for is_inside, marker, colour in ((True, "o", BLUE), (False, "x", ORANGE)):
        some = [p for p in shown if (abs(p.error) <= p.half_width) == is_inside]
        if some:
            axes.plot(
                [p.factor for p in some], [_percent(p.error) for p in some], marker=marker, color=colour, linewidth=0,
                markersize=4, markerfacecolor="white", markeredgewidth=0.9, alpha=0.75, zorder=3,
                rasterized=is_raster(len(shown)),
            )  # fmt: skip


def _draw_bin(axes: "Axes", b: FactorBin, found: Sequence[Prediction], farthest: float) -> None:
    """Draws a range's median and root mean square, and writes above it how often its intervals held."""
    low, high = b.low, min(b.high, farthest)
    errors = [p.error for p in found if b.low <= p.factor < b.high]
    axes.fill_between([low, high], _percent(-b.rms_error), _percent(b.rms_error), color=BLUE, alpha=0.13, linewidth=0)
    if errors:
        median = _percent(float(np.median(errors)))
        axes.plot([low, high], [median, median], color=INK, linewidth=2.0, solid_capstyle="butt", zorder=5)
    axes.text(
        float(np.sqrt(low * high)), 0.985, f"{b.coverage:.0%}\n{b.predictions:,}", transform=axes.get_xaxis_transform(),
        ha="center", va="top", fontsize=8.5, linespacing=1.3, color=INK, zorder=6,
    )  # fmt: skip


def _frame(axes: "Axes", found: Sequence[Prediction], bins: Sequence[FactorBin], farthest: float) -> None:
    axes.set_xlim(1.0, farthest)
    set_ticks(axes, "x", *factor_ticks(1.0, farthest))
    errors = np.array([_percent(p.error) for p in found])
    low, high = float(errors.min()), float(errors.max())
    reach = max(high - low, 1e-6)
    axes.set_ylim(low - 0.05 * reach, high + 0.2 * reach)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    for b in bins[1:]:
        axes.axvline(b.low, color="#c9c9c9", linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    tidy(axes)
    axes.set_xlabel("compute of the predicted run over the dearest one fitted")
    axes.set_ylabel("predicted above measured by [%]")
