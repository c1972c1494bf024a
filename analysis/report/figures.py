"""The figure of loss against compute, as Fig. 2 of arXiv:2310.16764, and the files of all figures."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.estimators.best_rate import Cell
from analysis.estimators.frontier_rows import has_curves
from analysis.laws import Floats
from analysis.report.axis_ticks import compute_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import FAINT, INK, PALETTE, STYLE, model_title, source_title
from analysis.report.rate_figure import rate_figure
from analysis.result import ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_MOST_CURVES = len(PALETTE)
_PLOT_HEIGHT_POINTS, _NAME_HEIGHT_POINTS = 330.0, 13.0
_NAME_WIDTH_LOG = 0.25
"""Curves that end within this of each other in log compute have their names side by side."""


def write_figures(result: ScalingFit, folder: Path) -> tuple[Path, ...]:
    """Returns the PNG and SVG files written to `folder`: loss_vs_compute, and best_peak_lr where rates are known."""
    import matplotlib

    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        drawn = {"loss_vs_compute": loss_figure(result)}
        if any(cell.best.peak_lr is not None and cell.epochs is not None for cell in result.cells):
            drawn["best_peak_lr"] = rate_figure(result)
        for name, figure in drawn.items():
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                path = folder / f"{name}.{kind}"
                figure.savefig(path, dpi=180, metadata=metadata, facecolor="white")
                written.append(path)
                figure.set_layout_engine("none")  # laid out by the first file; the second need not do it again
    return tuple(written)


def loss_figure(result: ScalingFit) -> "Figure":
    """Returns loss against compute in log-log: cells, each model's curve, the envelope and the law with its band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    is_drawn = has_curves(result.curves, has_models=result.points.has_models)
    if is_drawn and len(result.curves.models) <= _MOST_CURVES:
        _draw_envelope(axes, result)
        _draw_curves(axes, result)
    else:
        _draw_cloud(axes, result)
    _draw_law(axes, result)
    _frame(axes, result)
    figure.supxlabel(_footer(result), fontsize=7.5, color=FAINT, x=0.01, ha="left", linespacing=1.5)
    return figure


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
            model_title(name), (x[-1], y[-1]), xytext=(7, shifts[model]), textcoords="offset points", va="center",
            color=colour, fontweight="bold", fontsize=10, zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


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
    """Draws the cells of a table without named curves, its frontier filled."""
    x, y = _places(result, result.cells)
    axes.scatter(x, y, s=16, c="white", edgecolors="#2f62b5", linewidths=0.8, alpha=0.7, zorder=3)
    x, y = _places(result, result.frontier)
    axes.plot(x, y, color="#d1495b", linewidth=1.0, marker="o", markersize=4.5, zorder=4, label="measured frontier")


def _draw_law(axes: "Axes", result: ScalingFit) -> None:
    """Draws a law of compute with the band of its resamples; a surface is no line on these axes and is only named."""
    fit = result.fit
    if fit.law.fits_frontier:
        x = np.geomspace(fit.sampled[0] / 1.15, fit.sampled[1] * 1.15, 200)
        log_x = np.log(x)
        y = np.exp(fit.law.log_loss(fit.values, {"compute": log_x}))
        axes.plot(x, y, color=INK, linewidth=1.6, linestyle=(0, (5, 3)), zorder=5)
        if fit.draws:
            columns = {name: values[:, None] for name, values in fit.draws.items()}
            drawn = np.exp(fit.law.log_loss(columns, {"compute": log_x[None]}))
            low, high = np.quantile(drawn, [(1 - fit.level) / 2, (1 + fit.level) / 2], axis=0)
            axes.fill_between(x, low, high, color=INK, alpha=0.13, linewidth=0, zorder=2)
    axes.text(
        0.025, 0.03, _law_text(result), transform=axes.transAxes, va="bottom", ha="left", fontsize=10, linespacing=1.5,
        color=INK, zorder=7,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#d5d5d5", "alpha": 0.92},
    )  # fmt: skip


def _law_text(result: ScalingFit) -> str:
    fit, values = result.fit, result.fit.values
    if fit.law.name == "power":
        slope = fit.parameters["b"]
        head = rf"$L = {values['a']:.3g}\;C^{{\,-{values['b']:.3f}}}$"
        bounds = "" if slope.low is None or slope.high is None else f"  ({-slope.high:.3f} to {-slope.low:.3f})"
        lines = [head, f"slope −{slope.value:.3f}{bounds}".replace("-", "−")]
    else:
        lines = [fit.law.formula.replace("-", "−"), ",  ".join(f"{name} {value:.3g}" for name, value in values.items())]
    return "\n".join([*lines, f"$r^2$ {fit.r2:.3f} over {len(result.frontier)} frontier cells"])


def _frame(axes: "Axes", result: ScalingFit) -> None:
    """Sets limits, ticks with real numbers, labels, and a second axis in FLOPs where the scale is one number."""
    x, y = _places(result, result.cells)
    axes.set_xlim(x.min() / 1.35, x.max() * 1.9)
    axes.set_ylim(y.min() ** 1.12 / y.max() ** 0.12, y.max() ** 1.08 / y.min() ** 0.08)
    in_core_hours = result.fit.axis == "core_hours"
    set_ticks(axes, "x", *compute_ticks(*axes.get_xlim(), in_core_hours=in_core_hours))
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    axes.grid(which="major", color="#e6e6e6", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("training compute [core-hours]" if in_core_hours else "training compute [FLOPs]")
    axes.set_ylabel("held-out loss [nats]")
    axes.spines["right"].set_visible(False)
    axes.set_title(f"Loss against compute: {source_title(result.points)}", loc="left", pad=10, fontweight="bold")
    scale = result.flops_per_core_hour
    if scale is None or not in_core_hours:
        axes.spines["top"].set_visible(False)
        return

    def to_flops(core_hours: npt.ArrayLike) -> Floats:
        return np.asarray(core_hours, dtype=np.float64) * scale

    def to_core_hours(flops: npt.ArrayLike) -> Floats:
        return np.asarray(flops, dtype=np.float64) / scale

    top = axes.secondary_xaxis("top", functions=(to_flops, to_core_hours))
    low, high = axes.get_xlim()
    ticks, labels = compute_ticks(low * scale, 0.9 * high * scale, in_core_hours=False)
    top.set_xticks(ticks, labels)
    top.minorticks_off()
    top.set_xlabel("training FLOPs")


def _places(result: ScalingFit, cells: Sequence[Cell]) -> tuple[Floats, Floats]:
    compute = np.array([cell.compute(result.fit.axis) for cell in cells], dtype=np.float64)
    return compute, np.array([cell.loss for cell in cells])


def _footer(result: ScalingFit) -> str:
    """Returns two lines: what was run at which scale, and how to read the marks."""
    run = [f"{len(result.points.points)} runs, {len(result.cells)} cells"]
    if result.flops_per_core_hour:
        run.append(f"scale model, 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs")
    marks = ["filled: beats every cheaper cell"]
    if result.noise.relative_sd is not None:
        run.append(f"{result.noise.seeds} seeds")
        marks.append("bars: sd over seeds")
    if has_curves(result.curves, has_models=result.points.has_models):
        marks.append("broad band: best model's interpolated curve")
    if result.fit.draws and result.fit.law.fits_frontier:
        marks.append(f"grey: {result.fit.level:.0%} interval of the law")
    return "  ·  ".join(run) + "\n" + "  ·  ".join(marks)
