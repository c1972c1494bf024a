"""The figure of loss against compute, as Fig. 2 of arXiv:2310.16764."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.estimators.best_rate import Cell
from analysis.estimators.frontier_rows import has_curves
from analysis.laws import Floats
from analysis.report.axis_ticks import POWER_POINTS, compute_ticks, count_text, count_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import (
    BLUE,
    FAINT,
    FOOTER_POINTS,
    INK,
    PALETTE,
    RED,
    ColourScale,
    footer_text,
    is_raster,
    model_title,
    source_title,
    thinned,
    tidy,
)
from analysis.report.law_figure import LawLine, draw_law, drawn_picks, law_line, law_text
from analysis.result import ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_MOST_CURVES = len(PALETTE)
_PLOT_HEIGHT_POINTS, _NAME_HEIGHT_POINTS = 330.0, 13.0
_NAME_WIDTH_LOG = 0.25
"""Curves that end within this of each other in log compute have their names side by side."""


def loss_figure(result: ScalingFit) -> "Figure | None":
    """Returns loss against compute in log-log: cells, each model's curve, the envelope, the law and its picks.

    Tables of more models than have colours are drawn as a cloud, coloured by size where sizes are known. None without
    two cells that have a place on such axes.
    """
    from matplotlib.figure import Figure

    x, y = _places(result, result.cells)
    if (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).sum() < max(2, len(x)):
        return None
    figure = Figure(figsize=(8.4, 5.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    line = law_line(result)
    if _is_named(result):
        _draw_envelope(axes, result)
        _draw_curves(axes, result)
    else:
        _draw_cloud(axes, result)
    tainted = [cell for cell in result.cells if cell.weight < 1]
    axes.scatter(*_places(result, tainted), s=70, marker="x", c=INK, linewidths=1.0, zorder=5)
    draw_law(axes, result, line)
    axes.text(
        0.025, 0.03, law_text(result), transform=axes.transAxes, va="bottom", ha="left", fontsize=POWER_POINTS,
        linespacing=1.5, color=INK, zorder=8,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#d5d5d5", "alpha": 0.92},
    )  # fmt: skip
    _frame(axes, result, line)
    figure.supxlabel(_footer(result, line), fontsize=FOOTER_POINTS, color=FAINT, x=0.01, ha="left", linespacing=1.5)
    return figure


def _is_named(result: ScalingFit) -> bool:
    """Returns whether each model has a curve and there is a colour for each."""
    few = len(result.curves.models) <= _MOST_CURVES
    return few and has_curves(result.curves, has_models=result.points.has_models)


def _draw_curves(axes: "Axes", result: ScalingFit) -> None:
    """Draws each model's cells; those on the measured frontier are filled."""
    from matplotlib.patheffects import withStroke

    frontier = {id(cell) for cell in result.frontier}
    shifts = _label_shifts(result)
    for model, (name, members) in enumerate(zip(result.curves.models, result.curves.members, strict=True)):
        colour, marker = PALETTE[model], _MARKERS[model]
        own: list[Cell] = [result.cells[i] for i in members]
        x, y = _places(result, own)
        axes.plot(x, y, color=colour, linewidth=1.3, alpha=0.9, zorder=3)
        spread = [cell.seed_sd or 0.0 for cell in own]
        if any(spread):
            axes.errorbar(x, y, yerr=spread, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.7, zorder=3)
        face = [colour if id(cell) in frontier else "white" for cell in own]
        axes.scatter(x, y, s=34, marker=marker, c=face, edgecolors=colour, linewidths=1.2, zorder=4)
        axes.annotate(
            _curve_title(result, name, own[0]), (x[-1], y[-1]), xytext=(7, shifts[model]),
            textcoords="offset points", va="center", color=colour, fontweight="bold", fontsize=10, zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _curve_title(result: ScalingFit, name: str, cell: Cell) -> str:
    """Returns what a curve is called; one that a table names by its size alone bears the size."""
    is_size = result.points.study is None and "group" not in dict(result.points.columns)
    return count_text(cell.params) if is_size and cell.params and name[:1].isdigit() else model_title(name)


def _label_shifts(result: ScalingFit) -> list[float]:
    """Returns how far to lift or lower the name at each curve's end so that names side by side stay apart [points]."""
    x, y = (np.log(values) for values in _places(result, result.cells))
    height = y / np.ptp(y) * _PLOT_HEIGHT_POINTS if np.ptp(y) else np.zeros_like(y)
    ends = [members[-1] for members in result.curves.members]
    placed: dict[int, float] = {}
    for model in sorted(range(len(ends)), key=lambda model: height[ends[model]]):
        beside = [other for other in placed if abs(x[ends[other]] - x[ends[model]]) < _NAME_WIDTH_LOG]
        lowest = max((placed[other] + _NAME_HEIGHT_POINTS for other in beside), default=-np.inf)
        placed[model] = max(float(height[ends[model]]), lowest)
    return [placed[model] - float(height[end]) for model, end in enumerate(ends)]


def _draw_envelope(axes: "Axes", result: ScalingFit) -> None:
    """Draws the interpolated envelope as a broad band in the colour of the model that wins there."""
    covered = result.lower.is_covered[0]
    x, y, winner = np.exp(result.curves.grid), np.exp(result.lower.log_loss[0]), result.lower.winner[0]
    for model in range(len(result.curves.models)):
        here = covered & (winner == model)
        # One sample further, so that neighbouring bands touch.
        here |= np.concatenate([[False], here[:-1]]) & covered
        axes.plot(
            np.where(here, x, np.nan), np.where(here, y, np.nan), color=PALETTE[model], linewidth=9, alpha=0.22,
            solid_capstyle="butt", zorder=1,
        )  # fmt: skip


def _draw_cloud(axes: "Axes", result: ScalingFit) -> None:
    """Draws the cells of a table without named curves, by size where it is known, and the line of its frontier."""
    cells = [result.cells[i] for i in thinned(len(result.cells))]
    x, y = _places(result, cells)
    sizes = np.array([cell.params or np.nan for cell in cells], dtype=np.float64)
    face, edge, is_coloured = "white", BLUE, bool((sizes > 0).all() and np.ptp(sizes) > 0)
    frontier = _places(result, result.frontier)
    axes.plot(*frontier, color=INK if is_coloured else RED, linewidth=0.9, alpha=0.55, zorder=3)
    if is_coloured:
        scale = ColourScale.of(sizes)
        figure = axes.figure.get_figure(root=True)
        assert figure is not None
        scale.draw_bar(figure, axes, "parameters", count_ticks(scale.low, scale.high))
        axes.scatter(
            x, y, s=20, c=scale.colours(sizes), linewidths=0, alpha=0.85, zorder=4, rasterized=is_raster(len(x))
        )  # fmt: skip
        return
    axes.scatter(x, y, s=16, c=face, edgecolors=edge, linewidths=0.8, alpha=0.7, zorder=2, rasterized=is_raster(len(x)))
    axes.plot(*frontier, color=RED, linewidth=0, marker="o", markersize=4.5, zorder=4)


def _frame(axes: "Axes", result: ScalingFit, line: LawLine | None) -> None:
    """Sets limits, ticks with real numbers, labels, and a second axis in FLOPs where the scale is one number."""
    _limit(axes, result, line)
    in_core_hours = result.fit.axis == "core_hours"
    set_ticks(axes, "x", *compute_ticks(*axes.get_xlim(), in_core_hours=in_core_hours))
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel("training compute [core-hours]" if in_core_hours else "training compute [FLOPs]")
    axes.set_ylabel("held-out loss [nats]")
    axes.set_title(f"Loss against compute: {source_title(result.points)}", loc="left", pad=10, fontweight="bold")
    scale = result.flops_per_core_hour
    if scale is None or not in_core_hours:
        return
    axes.spines["top"].set_visible(True)

    def to_flops(core_hours: npt.ArrayLike) -> Floats:
        return np.asarray(core_hours, dtype=np.float64) * scale

    def to_core_hours(flops: npt.ArrayLike) -> Floats:
        return np.asarray(flops, dtype=np.float64) / scale

    top = axes.secondary_xaxis("top", functions=(to_flops, to_core_hours))
    low, high = axes.get_xlim()
    ticks, labels = compute_ticks(low * scale, 0.9 * high * scale, in_core_hours=False)
    top.set_xticks(ticks, labels)
    top.minorticks_off()
    top.tick_params(labelsize=POWER_POINTS)
    top.set_xlabel("training FLOPs")


def _limit(axes: "Axes", result: ScalingFit, line: LawLine | None) -> None:
    """Sets limits that hold every cell, the law as far as it is drawn, and room for the names at the right."""
    x, y = _places(result, result.cells)
    least, most, ends = float(y.min()), float(y.max()), x
    if line is not None:
        bounds = [bound for pick in drawn_picks(result) for bound in (pick.low, pick.high) if bound]
        least, most = min([least, float(line.loss.min()), *bounds]), max([most, float(line.loss.max()), *bounds])
        ends = np.concatenate([x, line.compute])
    most = max(most, 1.02 * least)
    room = 1.9 * x.max() if _is_named(result) else 1.35 * x.max()
    axes.set_xlim(ends.min() / 1.2, max(room, ends.max() * 1.1))
    axes.set_ylim(least**1.12 / most**0.12, most**1.08 / least**0.08)


def _places(result: ScalingFit, cells: Sequence[Cell]) -> tuple[Floats, Floats]:
    compute = np.array([cell.compute(result.fit.axis) for cell in cells], dtype=np.float64)
    return compute, np.array([cell.loss for cell in cells])


def _footer(result: ScalingFit, line: LawLine | None) -> str:
    """Returns two lines: what was run at which scale, and how to read the marks."""
    run = [f"{len(result.points.points):,} runs, {len(result.cells):,} cells"]
    if len(thinned(len(result.cells))) < len(result.cells):
        run[0] += f", {len(thinned(len(result.cells))):,} of them drawn"
    if result.flops_per_core_hour:
        run.append(f"scale model, 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs")
    marks = [
        "filled: beats every cheaper cell" if _is_named(result) else "thin line: cells that beat every cheaper one"
    ]
    if result.noise.relative_sd is not None:
        run.append(f"{result.noise.seeds} seeds")
        if _is_named(result):
            marks.append("bars: sd over seeds")
    if _is_named(result):
        marks.append("broad band: best model's interpolated curve")
    if any(cell.weight < 1 for cell in result.cells):
        marks.append("×: tainted runs only")
    if line is not None:
        marks += [f"grey: {result.fit.level:.0%} interval of the law"] if line.low is not None else []
        marks += [f"◇ pick, {result.fit.level:.0%} interval of a run"] if drawn_picks(result) else []
        marks += ["dotted: extrapolated"] if line.compute[-1] > 1.2 * line.sampled_top else []
    if not result.fit.law.fits_frontier and line is not None:
        run.append("dashed: the surface's best loss, each budget split at its optimum")
    return footer_text(*run) + "\n" + footer_text(*marks)
