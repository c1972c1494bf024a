"""The figure of the best learning rate against epochs, as Fig. 3 of arXiv:2310.16764."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.estimators.best_rate import Cell
from analysis.report.axis_ticks import rate_ticks, set_ticks
from analysis.report.figure_style import FAINT, FOOTER_POINTS, PALETTE, model_title, source_title
from analysis.result import ScalingFit
from analysis.tables.points import PointSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 9


def rate_figure(result: ScalingFit) -> "Figure | None":
    """Returns the best peak learning rate against epochs, a panel for each model; None without rates or epochs.

    Small dots are rates that were tried, crosses rates that diverged, dashes the parabolas' vertices; a triangle marks
    an optimum on the edge of the rates tried, so the true one may lie beyond.
    """
    from matplotlib.figure import Figure

    known = {cell.model for cell in result.cells if _has_rate(cell)}
    models = [model for model in result.curves.models if model in known]
    if not models:
        return None
    left_out = len(models)
    models = models[:: math.ceil(len(models) / _MOST_PANELS)]
    left_out -= len(models)
    columns = len(models) if len(models) < 4 else 2 if len(models) == 4 else 3
    rows = math.ceil(len(models) / columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, 2.35 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    flat: list[Axes] = [panel for row in panels for panel in row]
    for panel in flat[len(models) :]:
        panel.set_visible(False)
    for panel, model in zip(flat, models, strict=False):
        colour = PALETTE[list(result.curves.models).index(model) % len(PALETTE)]
        _draw_rates(panel, [c for c in result.cells if c.model == model and _has_rate(c)], colour)
        _draw_diverged(panel, result.points, model)
        panel.tick_params(labelbottom=True)
        panel.set_title(model_title(model), loc="left", color=colour, fontweight="bold", fontsize=10.5)
    _frame_rates(flat[: len(models)], result)
    for panel in flat[max(0, len(models) - columns) : len(models)]:
        panel.set_xlabel("epochs")
    figure.supylabel("best peak learning rate", fontsize=9.5)
    title = f"Best learning rate: {source_title(result.points)}" + (
        f" ({left_out} models left out)" if left_out else ""
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    footer = "● best   △▽ best, on the edge of the rates tried   — vertex of a parabola   • tried   × diverged"
    figure.supxlabel(footer, x=0.01, ha="left", fontsize=FOOTER_POINTS, color=FAINT)
    return figure


def _has_rate(cell: Cell) -> bool:
    """Returns whether the cell has a place on log axes of rate against epochs."""
    rate, epochs = cell.best.peak_lr, cell.epochs
    return rate is not None and epochs is not None and 0 < rate < math.inf and 0 < epochs < math.inf


def _draw_rates(panel: "Axes", cells: Sequence[Cell], colour: str) -> None:
    cells = sorted(cells, key=lambda cell: cell.epochs or 0.0)
    tried = [(cell.epochs, rate.peak_lr) for cell in cells for rate in cell.tried if rate.peak_lr]
    panel.scatter(*zip(*tried, strict=True), s=9, color="#c4c4c4", linewidths=0, zorder=2)
    x = [cell.epochs or math.nan for cell in cells]
    y = [cell.best.peak_lr or math.nan for cell in cells]
    panel.plot(x, y, color=colour, linewidth=1.4, zorder=3)
    vertices = [cell.parabola_peak_lr or math.nan for cell in cells]
    panel.scatter(x, vertices, s=110, marker="_", color=colour, linewidths=1.6, alpha=0.55, zorder=5)
    for edge, marker, size, face in ((None, "o", 42, colour), ("high", "^", 62, "white"), ("low", "v", 62, "white")):
        chosen = [i for i, cell in enumerate(cells) if (None if cell.edge == "single" else cell.edge) == edge]
        if chosen:
            panel.scatter(
                [x[i] for i in chosen], [y[i] for i in chosen], s=size, marker=marker, c=face, edgecolors=colour,
                linewidths=1.5, zorder=4,
            )  # fmt: skip


def _draw_diverged(panel: "Axes", points: PointSet, model: str) -> None:
    bad = [(rate.epochs, rate.peak_lr) for rate in points.unstable if rate.model == model and rate.epochs]
    if bad:
        panel.scatter(*zip(*bad, strict=True), s=26, marker="x", color="#9a9a9a", linewidths=1.2, zorder=3)


def _frame_rates(panels: Sequence["Axes"], result: ScalingFit) -> None:
    cells = [cell for cell in result.cells if _has_rate(cell)]
    epochs = sorted({cell.epochs for cell in cells if cell.epochs})
    rates = {rate.peak_lr for cell in cells for rate in cell.tried if rate.peak_lr}
    rates |= {rate.peak_lr for rate in result.points.unstable if 0 < rate.peak_lr < math.inf}
    for panel in panels:
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(epochs[0] / 1.4, epochs[-1] * 1.4)
        panel.set_ylim(min(rates) / 1.5, max(rates) * 1.5)
        shown = epochs if len(epochs) <= 8 else epochs[:: math.ceil(len(epochs) / 8)]
        set_ticks(panel, "x", shown, [f"{e:g}" for e in shown])
        set_ticks(panel, "y", *rate_ticks(rates))
        panel.grid(which="major", color="#eeeeee", linewidth=0.7)
        panel.set_axisbelow(True)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
