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
from analysis.report.axis_ticks import POWER_POINTS, compute_text, count_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import (
    INK,
    ColourScale,
    is_raster,
    new_figure,
    source_title,
    spread_out,
    tidy,
)
from analysis.result import ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAMPLES = 120
_PLOT_WIDTH_POINTS, _PLOT_HEIGHT_POINTS = 560.0, 350.0
_LABEL_WIDTH_POINTS, _LABEL_HEIGHT_POINTS = 70.0, 13.0
_MOST_BUDGETS = 24
"""Budgets beyond which only some of them are labelled."""
_WHY = {"edge_minimum": "edge", "too_few_sizes": "too few sizes", "downward_parabola": "edge"}


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
        "dots: runs, pale ones too far above the least loss to be fitted (some above the frame)", half,
            *([f"dashed, open: {refused} budget{'s' * (refused > 1)} whose optimum was not seen"] if refused else []),
            "numbers: compute budget [FLOPs]", "grey line: from one minimum to the next",
    )  # fmt: skip
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    flops = np.exp([budget.log_flops for budget in budgets])
    colours = ColourScale.of(flops).colours(flops)
    curves = [_curve(budget, fit) for budget in budgets]
    for budget, curve, colour in zip(budgets, curves, colours, strict=True):
        red, green, blue, _ = (float(part) for part in colour)
        _draw_valley(axes, budget, curve, (red, green, blue))
    seen = [budget for budget in budgets if budget.log_params is not None]
    axes.plot(
        [math.exp(b.log_params or 0.0) for b in seen], [math.exp(b.log_loss or 0.0) for b in seen],
        color=INK, linewidth=0.9, alpha=0.45, zorder=2,
    )  # fmt: skip
    _frame(axes, budgets, curves)
    _label(axes, budgets, curves, colours)
    return figure


def _is_drawable(budget: IsoFlop) -> bool:
    values = np.array([(cell.params or np.nan, cell.loss) for cell in budget.cells], dtype=np.float64)
    return len(values) > 1 and bool(np.isfinite(values).all() and (values > 0).all())


def _draw_valley(
    axes: "Axes", budget: IsoFlop, curve: tuple[Floats, Floats], colour: tuple[float, float, float]
) -> None:
    """Draws the runs of a budget, its curve, and the minimum with its bar: open, and said so, where it was not seen."""
    x, y = _places(budget)
    near = np.isin(np.log(x), budget.valley.log_params) & np.isin(np.log(y), budget.valley.log_loss)
    axes.scatter(
        x, y, s=17, c=[(*colour, 0.9 if is_near else 0.3) for is_near in near], linewidths=0, zorder=3,
        rasterized=is_raster(len(x)),
    )  # fmt: skip
    axes.plot(
        *curve, color=colour, linewidth=1.5, linestyle="-" if budget.refused is None else (0, (4, 2.5)), zorder=3
    )  # fmt: skip
    if budget.log_params is None or budget.log_loss is None or budget.sd is None:
        # Written outwards, where the valley has no runs.
        least, side = int(np.argmin(y)), _outward(budget)
        axes.scatter([x[least]], [y[least]], s=48, marker="D", c="white", edgecolors=colour, linewidths=1.3, zorder=5)
        axes.annotate(
            _WHY.get(budget.refused or "", "refused"), (x[least], y[least]), xytext=(8 * side, 0 if side else -12),
            textcoords="offset points", ha={1: "left", 0: "center", -1: "right"}[side], va="center", fontsize=8,
            color=INK, zorder=7,
        )  # fmt: skip
        return
    best, loss = math.exp(budget.log_params), math.exp(budget.log_loss)
    bar = [[best - best * math.exp(-budget.sd)], [best * math.exp(budget.sd) - best]]
    axes.errorbar([best], [loss], xerr=bar, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, zorder=6)
    axes.scatter([best], [loss], s=20, marker="D", c=[colour], edgecolors="white", linewidths=0.5, zorder=7)


def _outward(budget: IsoFlop) -> int:
    """Returns 1 where the least loss was seen at the largest size, -1 at the smallest, 0 between."""
    least = int(np.argmin(budget.valley.log_loss))
    return 1 if least == len(budget.valley.log_loss) - 1 else -1 if least == 0 else 0


def _places(budget: IsoFlop) -> tuple[Floats, Floats]:
    params = np.array([cell.params for cell in budget.cells], dtype=np.float64)
    return params, np.array([cell.loss for cell in budget.cells], dtype=np.float64)


def _curve(budget: IsoFlop, fit: IsoFlopFit) -> tuple[Floats, Floats]:
    """Returns the smooth curve over the sizes it was fitted to, or the runs themselves where there are too few."""
    valley = budget.valley
    if len(valley.log_params) < LEAST_SIZES:
        return np.exp(valley.log_params), np.exp(valley.log_loss)
    log_params: Floats = np.linspace(float(valley.log_params[0]), float(valley.log_params[-1]), _SAMPLES)
    return np.exp(log_params), np.exp(curve_of(valley, fit.smoother, log_params))


def _frame(axes: "Axes", budgets: Sequence[IsoFlop], curves: Sequence[tuple[Floats, Floats]]) -> None:
    """Sets limits that hold every curve; runs far above theirs may lie outside."""
    places = [_places(budget) for budget in budgets]
    x = np.concatenate([place[0] for place in places])
    least = min(*(place[1].min() for place in places), *(curve[1].min() for curve in curves))
    most = max(*(np.exp(b.valley.log_loss.max()) for b in budgets), *(curve[1].max() for curve in curves), 1.02 * least)
    axes.set_xlim(x.min() / 1.25, x.max() * (x.max() / x.min()) ** 0.12 * 1.1)
    axes.set_ylim(least**1.06 / most**0.06, most**1.06 / least**0.06)
    set_ticks(axes, "x", *count_ticks(*axes.get_xlim(), most=10))
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel("parameters")
    axes.set_ylabel("held-out loss [nats]")


def _label(
    axes: "Axes", budgets: Sequence[IsoFlop], curves: Sequence[tuple[Floats, Floats]], colours: Floats
) -> None:  # fmt: skip
    """Writes each budget at its curve's right end, kept apart from the others, or above the left end of a cut one."""
    from matplotlib.patheffects import withStroke

    shown = list(range(len(budgets)))[:: math.ceil(len(budgets) / _MOST_BUDGETS)]
    at_left = {i for i in shown if budgets[i].refused is not None and _outward(budgets[i]) == 1}
    shifts = _shifts(axes, {i: (float(curves[i][0][-1]), float(curves[i][1][-1])) for i in shown if i not in at_left})
    for i in shown:
        text = compute_text(math.exp(budgets[i].log_flops), in_core_hours=False)
        end = 0 if i in at_left else -1
        axes.annotate(
            text, (curves[i][0][end], curves[i][1][end]),
            xytext=(-6, 14) if i in at_left else (8, shifts[i]), textcoords="offset points",
            va="center", fontsize=POWER_POINTS, color=tuple(0.85 * colours[i][:3]), zorder=8,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _shifts(axes: "Axes", ends: dict[int, tuple[float, float]]) -> dict[int, float]:
    """Returns how far to lift or lower each label so that those side by side stay apart [points]."""
    (left, right), (low, high) = np.log(axes.get_xlim()), np.log(axes.get_ylim())
    places = {i: (math.log(x) - left, math.log(y) - low) for i, (x, y) in ends.items()}
    wide, tall = _PLOT_WIDTH_POINTS / (right - left), _PLOT_HEIGHT_POINTS / (high - low)
    clusters: list[list[int]] = []
    for i in sorted(places, key=lambda i: places[i][0]):
        if clusters and (places[i][0] - places[clusters[-1][-1]][0]) * wide < _LABEL_WIDTH_POINTS:
            clusters[-1].append(i)
        else:
            clusters.append([i])
    shifts: dict[int, float] = {}
    for members in clusters:
        heights = [places[i][1] * tall for i in members]
        placed = spread_out(heights, _LABEL_HEIGHT_POINTS)
        shifts |= {i: at - height for i, at, height in zip(members, placed, heights, strict=True)}
    return shifts
