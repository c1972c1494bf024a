"""The figure of approach 2: loss against size, a valley for each compute budget (arXiv:2203.15556 fig. 3)."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.estimators.isoflop import IsoFlop, IsoFlopFit
from analysis.estimators.smooth_valley import LEAST_SIZES, curve_of
from analysis.laws import Floats
from analysis.report.axis_ticks import compute_text, count_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import (
    INK, ColourScale, footer_text, is_raster, new_figure, source_title, spread_out, tidy,
)  # fmt: skip
from analysis.result import ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAMPLES = 120
_PLOT_HEIGHT_POINTS, _LABEL_HEIGHT_POINTS = 350.0, 13.0
_MOST_BUDGETS = 24
"""Budgets beyond which only some of them are labelled."""
_WHY = {"edge_minimum": "edge", "too_few_sizes": "too few sizes", "downward_parabola": "no minimum"}


def isoflop_figure(result: ScalingFit) -> "Figure | None":
    """Returns the valleys of all compute budgets, each with the best size; None where runs do not come in budgets."""
    fit = result.isoflop
    budgets = [] if fit is None else [budget for budget in fit.budgets if _is_drawable(budget)]
    if fit is None or len(budgets) < 2:
        return None
    half = f"{len(fit.used)} minima, bars: one standard deviation of the best size"
    refused = len(fit.budgets) - len(fit.used)
    figure = new_figure(
        8.4, 6.0, f"Loss against size at equal compute: {source_title(result.points)}",
        footer_text(
            "dots: runs, pale ones too far from the least loss to be fitted", half,
            *([f"dashed, open: {refused} budgets refused, their optimum was not seen"] if refused else []),
            "grey line: N*(C) from one minimum to the next",
        ),
    )  # fmt: skip
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    flops = np.exp([budget.log_flops for budget in budgets])
    colours = ColourScale.of(flops).colours(flops)
    for budget, colour in zip(budgets, colours, strict=True):
        _draw_valley(axes, budget, fit, tuple(colour))
    seen = [budget for budget in budgets if budget.log_params is not None]
    axes.plot(
        [math.exp(b.log_params or 0.0) for b in seen], [math.exp(b.log_loss or 0.0) for b in seen],
        color=INK, linewidth=0.9, alpha=0.45, zorder=2,
    )  # fmt: skip
    _frame(axes, budgets)
    _label(axes, budgets, colours)
    return figure


def _is_drawable(budget: IsoFlop) -> bool:
    values = np.array([(cell.params or np.nan, cell.loss) for cell in budget.cells], dtype=np.float64)
    return len(values) > 1 and bool(np.isfinite(values).all() and (values > 0).all())


def _draw_valley(axes: "Axes", budget: IsoFlop, fit: IsoFlopFit, colour: tuple[float, ...]) -> None:
    """Draws the runs of a budget, its curve, and the minimum with its bar: open, and called so, where it was not seen."""
    x, y = _places(budget)
    near = np.isin(np.log(x), budget.valley.log_params) & np.isin(np.log(y), budget.valley.log_loss)
    axes.scatter(
        x, y, s=17, c=[(*colour[:3], 0.9 if is_near else 0.3) for is_near in near], linewidths=0, zorder=3,
        rasterized=is_raster(len(x)),
    )  # fmt: skip
    curve_x, curve_y = _curve(budget, fit)
    axes.plot(
        curve_x, curve_y, color=colour, linewidth=1.5, linestyle="-" if budget.refused is None else (0, (4, 2.5)), zorder=3
    )  # fmt: skip
    if budget.log_params is None or budget.log_loss is None or budget.sd is None:
        least = int(np.argmin(y))
        axes.scatter([x[least]], [y[least]], s=60, marker="D", c="white", edgecolors=[colour], linewidths=1.3, zorder=5)
        axes.annotate(
            _WHY.get(budget.refused or "", "refused"), (x[least], y[least]), xytext=(0, -11), textcoords="offset points",
            ha="center", va="center", fontsize=8, color=INK, zorder=7,
        )  # fmt: skip
        return
    best, loss = math.exp(budget.log_params), math.exp(budget.log_loss)
    bar = [[best - best * math.exp(-budget.sd)], [best * math.exp(budget.sd) - best]]
    axes.errorbar([best], [loss], xerr=bar, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, zorder=5)
    axes.scatter([best], [loss], s=52, marker="D", c=[colour], edgecolors="white", linewidths=1.0, zorder=6)


def _places(budget: IsoFlop) -> tuple[Floats, Floats]:
    params = np.array([cell.params for cell in budget.cells], dtype=np.float64)
    return params, np.array([cell.loss for cell in budget.cells], dtype=np.float64)


def _curve(budget: IsoFlop, fit: IsoFlopFit) -> tuple[Floats, Floats]:
    """Returns the smooth curve over the sizes it was fitted to, or the runs themselves where there are too few."""
    valley = budget.valley
    if len(valley.log_params) < LEAST_SIZES:
        return np.exp(valley.log_params), np.exp(valley.log_loss)
    log_params = np.linspace(valley.log_params[0], valley.log_params[-1], _SAMPLES)
    return np.exp(log_params), np.exp(curve_of(valley, fit.smoother, log_params))


def _frame(axes: "Axes", budgets: Sequence[IsoFlop]) -> None:
    places = [_places(budget) for budget in budgets]
    x, y = (np.concatenate([place[i] for place in places]) for i in range(2))
    most = max(y.max(), 1.02 * y.min())
    axes.set_xlim(x.min() / 1.25, x.max() * (x.max() / x.min()) ** 0.14 * 1.1)
    axes.set_ylim(y.min() ** 1.06 / most**0.06, most**1.04 / y.min() ** 0.04)
    set_ticks(axes, "x", *count_ticks(*axes.get_xlim(), most=10))
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel("parameters")
    axes.set_ylabel("held-out loss [nats]")


def _label(axes: "Axes", budgets: Sequence[IsoFlop], colours: Floats) -> None:
    """Writes each budget beside the largest size run at it, kept apart from the others."""
    from matplotlib.patheffects import withStroke

    step = math.ceil(len(budgets) / _MOST_BUDGETS)
    shown = list(range(len(budgets)))[::step]
    low, high = np.log(axes.get_ylim())
    ends = [_places(budgets[i]) for i in shown]
    heights = [float((math.log(y[-1]) - low) / (high - low) * _PLOT_HEIGHT_POINTS) for _, y in ends]
    placed = spread_out(heights, _LABEL_HEIGHT_POINTS)
    for i, (x, y), height, at in zip(shown, ends, heights, placed, strict=True):
        text = compute_text(math.exp(budgets[i].log_flops), in_core_hours=False)
        axes.annotate(
            f"{text} FLOPs" if i == shown[0] else text, (x[-1], y[-1]), xytext=(8, at - height),
            textcoords="offset points", va="center", fontsize=10.5, color=tuple(0.85 * colours[i][:3]), zorder=8,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip
