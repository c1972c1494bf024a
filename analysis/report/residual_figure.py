"""The figure of what the law leaves unexplained: each run's loss over the law's, against what was spent."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.estimators.allocation import data_of
from analysis.estimators.rows import surface_rows
from analysis.laws import Floats
from analysis.report.axis_ticks import count_ticks, few_compute_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import (
    BLUE,
    INK,
    RED,
    ColourScale,
    is_raster,
    new_figure,
    source_title,
    thinned,
    tidy,
)
from analysis.result import ScalingFit
from analysis.trust.sensitivity import OUTLIER, outliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST = 3


@dataclass(frozen=True, kw_only=True)
class _Residuals:
    """Rows that the law was judged on."""

    percent: Floats
    """100 x log(measured / law)."""
    compute: Floats
    other: Floats
    """Parameters, or the law's loss for a law of compute."""
    per_param: Floats | None
    """Data per parameter; None where a row lacks either."""
    is_outlier: np.ndarray


def residual_figure(result: ScalingFit) -> "Figure | None":
    """Returns residuals against compute and against size (or the law's loss); None with fewer than three rows."""
    rows = _residuals(result)
    if rows is None:
        return None
    far = int(rows.is_outlier.sum())
    sd = 100 * result.fit.residual_sd
    about = "every run" if not result.fit.law.fits_frontier else "the cells of the measured frontier"
    parts = [f"dots: {about}", f"band: ± one standard deviation, {sd:.2g} %"]
    parts += [f"ringed: {far} outlier{'s' * (far > 1)}, beyond {OUTLIER:g} robust standard deviations"] if far else []
    title = f"What the law leaves unexplained: {source_title(result.points)}"
    figure = new_figure(9.6, 4.3, title, *parts)
    panels = figure.subplots(1, 2, sharey=True)
    scale = ColourScale.of(rows.per_param) if rows.per_param is not None else None
    for panel, x in zip(panels, (rows.compute, rows.other), strict=True):
        panel.set_xscale("log")
        _draw(panel, rows, x, scale, sd)
    _frame(panels[0], panels[1], result, rows)
    if scale is not None:
        unit = f"{_unit(result)} per parameter"
        scale.draw_bar(figure, list(panels), unit, count_ticks(scale.low, scale.high))
    return figure


def _unit(result: ScalingFit) -> str:
    return result.points.data_unit if any(cell.tokens is not None for cell in result.cells) else "epochs"


def _residuals(result: ScalingFit) -> _Residuals | None:
    """Returns the residuals with what each row cost; None where the two do not belong together or say nothing."""
    fit = result.fit
    per_param: Floats | None = None
    if fit.law.fits_frontier:
        cells = result.frontier
        compute = np.array([cell.compute(fit.axis) or np.nan for cell in cells], dtype=np.float64)
        with np.errstate(all="ignore"):
            other = np.exp(fit.law.log_loss(fit.values, {"compute": np.log(compute)}))
        if cells and all(cell.params and data_of(cell) for cell in cells):
            per_param = np.array([(data_of(cell) or 1.0) / (cell.params or 1.0) for cell in cells], dtype=np.float64)
    else:
        rows = surface_rows(result.cells, fit.axis, fit.law)
        compute, other = np.exp(rows.log_compute), np.exp(rows.log_values["params"])
        per_param = np.exp(rows.log_values["data"] - rows.log_values["params"])
    residual = np.asarray(fit.residuals, dtype=np.float64)
    if len(residual) != len(compute) or len(residual) < _LEAST:
        return None
    known = [residual, compute, other, *([] if per_param is None else [per_param])]
    if not all(np.isfinite(values).all() for values in known) or any((values <= 0).any() for values in known[1:]):
        return None
    # A law through all its rows leaves nothing but rounding.
    if np.ptp(residual) < 1e-9 or np.ptp(compute) == 0:
        return None
    return _Residuals(
        percent=-100 * residual, compute=compute, other=other, per_param=per_param, is_outlier=outliers(residual)
    )


def _draw(panel: "Axes", rows: _Residuals, x: Floats, scale: ColourScale | None, sd: float) -> None:
    panel.axhspan(-sd, sd, color=INK, alpha=0.07, linewidth=0, zorder=0)
    panel.axhline(0.0, color=INK, linewidth=1.1, zorder=3)
    shown = thinned(len(x))
    colours = BLUE if scale is None or rows.per_param is None else scale.colours(rows.per_param[shown])
    panel.scatter(
        x[shown], rows.percent[shown], s=19, c=colours, linewidths=0, alpha=0.85, zorder=4,
        rasterized=is_raster(len(shown)),
    )  # fmt: skip
    if rows.is_outlier.any():
        panel.scatter(
            x[rows.is_outlier], rows.percent[rows.is_outlier], s=75, facecolors="none", edgecolors=RED, linewidths=1.2,
            zorder=5, rasterized=is_raster(int(rows.is_outlier.sum())),
        )  # fmt: skip


def _frame(left: "Axes", right: "Axes", result: ScalingFit, rows: _Residuals) -> None:
    in_core_hours = result.fit.axis == "core_hours"
    for panel, x in ((left, rows.compute), (right, rows.other)):
        low, high = float(x.min()), max(float(x.max()), 1.02 * float(x.min()))
        room = (high / low) ** 0.05
        panel.set_xlim(low / room, high * room)
        tidy(panel)
    set_ticks(left, "x", *few_compute_ticks(*left.get_xlim(), in_core_hours=in_core_hours))
    left.set_xlabel("training compute [core-hours]" if in_core_hours else "training compute [FLOPs]")
    if result.fit.law.fits_frontier:
        ticks, labels = loss_ticks(*right.get_xlim())
        set_ticks(right, "x", ticks[:: 1 + len(ticks) // 8], labels[:: 1 + len(ticks) // 8])
        right.set_xlabel("the law's loss [nats]")
    else:
        set_ticks(right, "x", *count_ticks(*right.get_xlim(), most=7))
        right.set_xlabel("parameters")
    left.set_ylabel("measured above the law by [%]")
    reach = 1.1 * float(np.abs(rows.percent).max())
    low, high = float(rows.percent.min()), float(rows.percent.max())
    left.set_ylim(min(low - 0.08 * reach, -0.25 * reach), max(high + 0.08 * reach, 0.25 * reach))
    left.yaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
