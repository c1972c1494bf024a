"""Maps of which family leads within a limit of size and a limit of compute, one column a study."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.compare.findings import Comparison
from analysis.compare.laws_figure import amount_label, look
from analysis.compare.lead_map import LeadMap
from analysis.report.axis_ticks import compute_ticks, count_ticks, set_ticks
from analysis.report.figure_style import INK, new_figure, plain_text, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE, _FULL = 0.25, 0.8
"""How much of its colour a family has where it leads for sure or not."""
_PANEL_INCHES = 3.7, 3.1


def map_figure(result: Comparison) -> "Figure | None":
    """Returns the maps of one study side by side; None where it has none."""
    return maps_figure([result])


def maps_figure(results: Sequence[Comparison]) -> "Figure | None":
    """Returns the maps of studies that hold the same families; None where none of them has one.

    One study lies in a row, a panel for each limit; several stand beside one another, a row for each limit.
    """
    rows = [list(result.maps) for result in results]
    if not rows or not all(rows):
        return None
    names = sorted({family.name for result in results for family in result.families})
    several = len(results) > 1
    count = min(len(row) for row in rows)
    shape = (count, len(results)) if several else (1, count)
    width, height = _PANEL_INCHES
    title = "Which family leads within a limit of size and of compute"
    figure = new_figure(0.9 + width * shape[1], 1.3 + height * shape[0], title, *_footer(results))
    panels = np.asarray(figure.subplots(*shape, squeeze=False), dtype=object)
    for column, result in enumerate(results):
        for row in range(count):
            axes = panels[row, column] if several else panels[0, row]
            _draw(axes, result, result.maps[row], names)
            if several and row == 0:
                axes.set_title(_heading(result), fontsize=10)
    _key(figure, names)
    return figure


def _draw(axes: "Axes", result: Comparison, one: LeadMap, names: Sequence[str]) -> None:
    own = [names.index(family.name) for family in result.families]
    colours = np.stack([_rgb(look(place)) for place in own])
    strength = np.where(one.is_sure, _FULL, _PALE)[..., None]
    picture = colours[one.leader] * strength + (1.0 - strength)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.pcolormesh(one.sizes, one.computes, picture, shading="nearest", rasterized=True)
    levels = _levels(one)
    if len(levels) > 1:
        lines = axes.contour(
            one.sizes, one.computes, np.exp(one.log_losses.min(axis=0)), levels=levels, colors=INK, linewidths=0.7
        )
        axes.clabel(lines, fmt="%.3g", fontsize=7.5)
    set_ticks(axes, "x", *count_ticks(float(one.sizes[0]), float(one.sizes[-1]), most=6))
    ends = float(one.computes[0]), float(one.computes[-1])
    set_ticks(axes, "y", *compute_ticks(*ends, in_core_hours=one.compute.name != "flops"))
    tidy(axes)
    axes.set_xlabel(f"at most [{one.limit.unit}]")
    axes.set_ylabel(amount_label(one.compute))


def _levels(one: LeadMap) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Returns losses between the least and the greatest of the map, evenly spaced in their logarithm."""
    least = one.log_losses.min(axis=0)
    return np.unique(np.exp(np.linspace(float(least.min()), float(least.max()), 8)[1:-1]))


def _rgb(colour: str) -> Any:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _heading(result: Comparison) -> str:
    data = result.families[0].data
    return plain_text(f"{result.families[0].study}: {data.images_per_epoch:,} images of {data.name}", most=48)


def _key(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=look(place), alpha=_FULL, label=plain_text(name)) for place, name in enumerate(names)]
    figure.legend(handles=handles, frameon=False, loc="outside right center", fontsize=9.5)


def _footer(results: Sequence[Comparison]) -> list[str]:
    level = results[0].level
    return [
        f"full colour: ahead of all others in {level:.0%} of {results[0].resamples} resamples; pale: not for sure",
        "lines: least held-out loss [nats] within both limits",
    ]
