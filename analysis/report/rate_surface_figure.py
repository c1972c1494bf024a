"""The figure of the best learning rate over size and data, with the law lr* = c N^p D^q (arXiv:2503.04715 fig. 1)."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.estimators.allocation import data_of
from analysis.estimators.best_rate import Cell
from analysis.estimators.rate_law import RateLaw
from analysis.laws import Floats
from analysis.report.axis_ticks import count_ticks, number_ticks, set_ticks
from analysis.report.figure_style import (
    FAINT,
    INK,
    ColourScale,
    data_label,
    is_raster,
    new_figure,
    number_text,
    source_title,
    thinned,
    tidy,
)
from analysis.result import ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure

_LEAST = 4
_MOST_LEVELS = 9
_ENOUGH_ROOM = 0.08
"""Part of the panel between a label and the frame."""
_MARKERS = ((None, "o", 46), ("high", "^", 58), ("low", "v", 58), ("single", "s", 26))
"""Where a best rate is censored -> its marker and size."""


def rate_surface_figure(result: ScalingFit) -> "Figure | None":
    """Returns best peak learning rates over parameters and data, censored ones as triangles, with the law's contours.

    None with fewer than four cells whose rate was chosen among several, or without two sizes and two amounts of data.
    """
    known = [cell for cell in result.cells if _is_known(cell)]
    known = [known[i] for i in thinned(len(known))]
    sizes = np.array([(cell.params, data_of(cell)) for cell in known], dtype=np.float64).reshape(-1, 2)
    if sum(cell.edge != "single" for cell in known) < _LEAST or not (np.ptp(sizes, axis=0) > 0).all():
        return None
    law = result.rate_law
    parts = ["● best rate", *(["lines: the rate law"] if law is not None else [])]
    parts += ["△▽ best on the upper or lower edge of the rates tried, so the true one may lie beyond"]
    parts += ["▪ only one rate tried"] if any(cell.edge == "single" for cell in known) else []
    title = f"Best learning rate over size and data: {source_title(result.points)}"
    figure = new_figure(8.0, 5.6, title, *parts)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    scale = ColourScale.of(np.array([_rate(cell) for cell in known]))
    _limit(axes, sizes)
    if law is not None:
        _draw_law(axes, law, sizes)
        axes.set_title(_law_text(law), loc="left", fontsize=9.5, color=INK)
    _draw_cells(axes, known, scale)
    scale.draw_bar(figure, axes, "best peak learning rate", number_ticks(scale.low, scale.high, most=8))
    set_ticks(axes, "x", *count_ticks(*axes.get_xlim()))
    set_ticks(axes, "y", *count_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel("parameters")
    has_tokens = any(cell.tokens is not None for cell in known)
    axes.set_ylabel(f"data [{data_label(result.points, has_tokens=has_tokens)}]")
    return figure


def _is_known(cell: Cell) -> bool:
    values = (cell.best.peak_lr, cell.params, data_of(cell))
    return all(value is not None and 0 < value < math.inf for value in values)


def _rate(cell: Cell) -> float:
    """Returns the vertex of the parabola through the best rates, or the best one tried where there is none."""
    return cell.parabola_peak_lr or cell.best.peak_lr or math.nan


def _limit(axes: "Axes", sizes: Floats) -> None:
    (left, bottom), (right, top) = sizes.min(axis=0), sizes.max(axis=0)
    for set_limits, low, high in ((axes.set_xlim, left, right), (axes.set_ylim, bottom, top)):
        room = float((high / low) ** 0.09)
        set_limits(low / room, high * room)


def _draw_cells(axes: "Axes", cells: Sequence[Cell], scale: ColourScale) -> None:
    for edge, marker, size in _MARKERS:
        some = [cell for cell in cells if cell.edge == edge]
        if some:
            axes.scatter(
                [cell.params or 1.0 for cell in some], [data_of(cell) or 1.0 for cell in some], s=size, marker=marker,
                c=scale.colours(np.array([_rate(cell) for cell in some])), edgecolors="white", linewidths=0.6, zorder=4,
                rasterized=is_raster(len(some)),
            )  # fmt: skip


def _draw_law(axes: "Axes", law: RateLaw, sizes: Floats) -> None:
    """Draws lines of equal rate at round rates, each with its rate written into it."""
    x, y = (np.geomspace(*limits, 60) for limits in (axes.get_xlim(), axes.get_ylim()))
    with np.errstate(all="ignore"):
        log_rate = (
            math.log(law.coefficient) + law.exponent_params * np.log(x[None]) + law.exponent_data * np.log(y[:, None])
        ) if law.coefficient > 0 else np.full((60, 60), np.nan)  # fmt: skip
    if not np.isfinite(log_rate).all() or np.ptp(log_rate) < 0.02 or np.abs(log_rate).max() > 100:
        return
    low, high = math.exp(log_rate.min()), math.exp(log_rate.max())
    levels = [tick for tick in number_ticks(low, high, most=_MOST_LEVELS)[0] if low * 1.001 < tick < high * 0.999]
    if not levels:
        return
    lines = axes.contour(
        x, y, log_rate, levels=np.log(levels), colors=[FAINT], linestyles="solid", linewidths=0.9, zorder=2
    )
    names = {float(at): number_text(level) for at, level in zip(lines.levels, levels, strict=True)}
    axes.clabel(lines, fmt=names, fontsize=8, inline=True, inline_spacing=3, manual=_label_places(axes, lines, sizes))


def _label_places(axes: "Axes", lines: "QuadContourSet", sizes: Floats) -> list[tuple[float, float]]:
    """Returns a place on each line that is far from every cell and from the frame."""
    (left, right), (bottom, top) = np.log(axes.get_xlim()), np.log(axes.get_ylim())

    def within(places: Floats) -> Floats:
        return (np.log(places) - [left, bottom]) / [right - left, top - bottom]

    cells = within(sizes[:500])
    found: list[tuple[float, float]] = []
    for path in lines.get_paths():
        vertices = np.asarray(path.vertices, dtype=np.float64)
        if not len(vertices):
            continue
        at = within(vertices)
        apart = np.linalg.norm(at[:, None] - cells[None], axis=-1).min(axis=1)
        room = np.minimum(at, 1 - at).min(axis=1)
        best = int(np.argmax(np.minimum(apart, np.minimum(room, _ENOUGH_ROOM))))
        found.append((float(vertices[best, 0]), float(vertices[best, 1])))
    return found


def _law_text(law: RateLaw) -> str:
    def power(name: str, value: float, bounds: tuple[float, float]) -> str:
        return f"{name} {value:.2f} ({bounds[0]:.2f} to {bounds[1]:.2f})".replace("-", "−")

    both = power("p", law.exponent_params, law.exponent_params_interval)
    both += "   " + power("q", law.exponent_data, law.exponent_data_interval)
    cells = f"{law.cells} cells" + (f", {law.censored} censored left out" if law.censored else "")
    return rf"$lr^* = c\,N^{{p}}\,D^{{q}}$    {both}    {cells}"
