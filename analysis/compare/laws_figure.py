"""The laws of all families in one picture: best losses against compute, on log axes."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from typing import TYPE_CHECKING

import numpy as np

from analysis.compare.axes import Axis
from analysis.compare.findings import Comparison, OnAxis
from analysis.report.axis_ticks import compute_ticks, count_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import PALETTE, new_figure, plain_text, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
LINES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)))


def look(place: int) -> str:
    """Returns the colour of a family: far apart in hue and in lightness for the first four."""
    return PALETTE[(1, 4, 2, 5, 0, 3, 6, 7)[place % len(PALETTE)]]


def laws_figure(result: Comparison, one: OnAxis | None = None) -> "Figure | None":
    """Returns the picture of one axis, by default the main one; None where nothing could be said there."""
    one = one or result.main
    if not one.bests:
        return None
    figure = new_figure(8.4, 5.6, f"Families at equal {one.axis.equal}", *_footer(result, one))
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    for place, family in enumerate(result.families):
        colour = look(place)
        amounts = [one.axis.amount(member) or np.nan for member in family.members]
        losses = [cell.loss for cell in family.cells]
        axes.scatter(
            amounts, losses, s=15, marker=MARKERS[place % len(MARKERS)], c="white", edgecolors=colour, linewidths=0.9,
            alpha=0.6, zorder=3,
        )  # fmt: skip
        _draw_best(axes, result, one, place)
    axes.legend(frameon=False, loc="upper right", fontsize=9.5)
    set_amount_ticks(axes, one.axis)
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel(amount_label(one.axis))
    axes.set_ylabel("held-out loss [nats]")
    return figure


def _draw_best(axes: "Axes", result: Comparison, one: OnAxis, place: int) -> None:
    """Draws a family's law, or without one its best losses, with the band of the resamples."""
    best, name, colour = one.bests[place], plain_text(result.families[place].name), look(place)
    values = one.laws[place].log_loss(best.grid) if one.laws else np.concatenate([best.log_loss[None], best.draws])
    if one.laws:
        slope = one.laws[place].parameters["b"]
        name += f"  {one.laws[place].law.name.replace('_', ' with ')}, b {slope.value:.3f}"
    ends = (1 - result.level) / 2, (1 + result.level) / 2
    low, high = np.exp(np.quantile(values[1:], ends, axis=0))
    x = np.exp(best.grid)
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    axes.plot(
        x, np.exp(values[0]), color=colour, linewidth=1.9, linestyle=LINES[place % len(LINES)], label=name, zorder=4
    )


def amount_label(axis: Axis) -> str:
    """Returns an axis with its unit."""
    if axis.is_spent:
        return f"compute [{axis.unit}]"
    return {"params": "parameters", "macs": "inference compute [MACs an image]"}.get(axis.name, axis.unit)


def set_amount_ticks(axes: "Axes", axis: Axis) -> None:
    """Puts round amounts on the x axis."""
    low, high = axes.get_xlim()
    if axis.is_spent:
        set_ticks(axes, "x", *compute_ticks(low, high, in_core_hours=axis.name != "flops"))
    else:
        set_ticks(axes, "x", *count_ticks(low, high))


def _footer(result: Comparison, one: OnAxis) -> list[str]:
    parts = ["dots: cells at their best learning rate", "lines: " + ("laws" if one.laws else "best losses")]
    parts.append(f"bands: {result.level:.0%} of {result.resamples} resamples")
    if one.axis.is_spent:
        free = all(best.is_free for best in one.bests)
        parts.append("drawn where the best size lies within those run" if free else "best size at the edge of the grid")
    if result.flops_per_core_hour and one.axis.name == "core_hours":
        parts.append(f"scale model, 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs")
    return parts
