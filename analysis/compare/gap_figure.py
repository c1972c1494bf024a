"""The gap between families at equal amounts, and the compute that makes up for it, against the budget."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from analysis.compare.compare_text import basis_lines
from analysis.compare.findings import Band, Comparison, Duel, OnAxis
from analysis.compare.laws_figure import LINES, amount_label, look, set_amount_ticks
from analysis.report.axis_ticks import factor_ticks, set_ticks
from analysis.report.figure_style import FAINT, INK, new_figure, plain_text, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLE_CHARACTERS = 98


def gap_figure(result: Comparison) -> "Figure":
    """Returns gap and, where compute is spent, multiplier of every pair against the budget, under the verdict."""
    duels = result.main.duels
    width = _TITLE_CHARACTERS if len(duels) == 1 else round(1.19 * _TITLE_CHARACTERS)
    title = "\n".join(textwrap.wrap(result.verdict.replace("$", r"\$"), width))
    figure = new_figure(10.4 if len(duels) == 1 else 12.4, 4.8 + 0.2 * title.count("\n"), title, *_footer(result))
    has_factors = any(duel.multiplier is not None for duel in duels)
    panels = np.atleast_1d(np.asarray(figure.subplots(1, 2 if has_factors else 1), dtype=object))
    _draw(panels[0], duels, [_in_per_cent(duel.gap) for duel in duels], result.main)
    panels[0].axhline(0.0, color=INK, linewidth=0.9, zorder=3)
    panels[0].set_ylabel("loss of the second over the first [%]")
    if len(duels) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside right center")
    else:
        panels[0].legend(frameon=False, fontsize=9)
    if has_factors:
        panels[1].set_yscale("log")
        _draw(panels[1], duels, [duel.multiplier for duel in duels], result.main)
        panels[1].axhline(1.0, color=INK, linewidth=0.9, zorder=3)
        low, high = panels[1].get_ylim()
        panels[1].set_ylim(min(low, 0.9), max(high, 1.1))
        set_ticks(panels[1], "y", *factor_ticks(*panels[1].get_ylim()))
        panels[1].set_ylabel("compute of the second for the loss of the first")
    return figure


def _draw(axes: "Axes", duels: tuple[Duel, ...], bands: "list[Band | None]", one: OnAxis) -> None:
    axes.set_xscale("log")
    for place, (duel, band) in enumerate(zip(duels, bands, strict=True)):
        if band is None or not len(band.amount):
            continue
        colour = look(place)
        label = f"{plain_text(duel.b)} against {plain_text(duel.a)}"
        axes.fill_between(band.amount, band.low, band.high, color=colour, alpha=0.16, linewidth=0, zorder=2)
        style = LINES[place % len(LINES)]
        axes.plot(band.amount, band.value, color=colour, linewidth=1.8, linestyle=style, label=label, zorder=4)
        if duel.meeting is not None:
            style = "-" if duel.meeting.is_sure else (0, (1, 2))
            axes.axvline(duel.meeting.amount, color=FAINT, linewidth=0.9, linestyle=style, zorder=1)
    set_amount_ticks(axes, one.axis)
    tidy(axes)
    axes.set_xlabel(amount_label(one.axis))


def _in_per_cent(band: Band) -> Band:
    value, low, high = (100.0 * np.expm1(part) for part in (band.value, band.low, band.high))
    return Band(amount=band.amount, value=value, low=low, high=high)


def axes_figure(result: Comparison) -> "Figure | None":
    """Returns the mean gap of every pair on every axis, with its interval; None with one axis alone."""
    answered = [one for one in (result.main, *result.others) if one.duels]
    if len(answered) < 2:
        return None
    pairs = len(result.main.duels)
    height = 1.6 + 0.22 * len(answered) * (pairs + 0.6)
    figure = new_figure(8.4, height, "What is held equal, and who is ahead", f"bars: {result.level:.0%} intervals")
    axes = figure.subplots()
    marks: list[float] = []
    for row, one in enumerate(answered):
        marks.append(row * (pairs + 0.6) + (pairs - 1) / 2)
        for place, duel in enumerate(one.duels):
            gap, y = duel.mean_gap, row * (pairs + 0.6) + place
            ends = [100 * math.expm1(end) for end in (gap.low or gap.value, gap.value, gap.high or gap.value)]
            axes.plot([ends[0], ends[2]], [y, y], color=look(place), linewidth=2.2, alpha=0.6, zorder=3)
            label = f"{plain_text(duel.b)} against {plain_text(duel.a)}" if not row else None
            axes.scatter([ends[1]], [y], s=34, color=look(place), label=label, zorder=4)
    axes.axvline(0.0, color=INK, linewidth=0.9, zorder=2)
    axes.set_yticks(marks, [one.axis.equal for one in answered])
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    tidy(axes)
    axes.set_xlabel("mean loss of the second over the first [%]")
    return figure


def _footer(result: Comparison) -> list[str]:
    return [f"bands: {result.level:.0%} intervals", "vertical lines: where two draw level", *basis_lines(result)[1:]]
