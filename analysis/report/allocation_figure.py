"""The figure of the best size and the best amount of data against compute, as three approaches see them."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.estimators.allocation import data_of
from analysis.report.allocation_track_figure import BEYOND, Track, allocation_tracks, log_flops_per_unit
from analysis.report.axis_ticks import POWER_POINTS, count_ticks, few_compute_ticks, set_ticks
from analysis.report.figure_style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    data_label,
    is_raster,
    new_figure,
    source_title,
    thinned,
    tidy,
)
from analysis.report.law_figure import common_price
from analysis.result import AllocationEstimate, Estimate, ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TEXT_ROOM = 0.2
"""Part of a panel's height above the lines that is kept for the exponents."""
_COLOURS = {"surface": BLUE, "isoflop": ORANGE, "envelope": INK}
_NAMES = {"surface": "surface", "isoflop": "isoFLOP", "envelope": "envelope"}


def allocation_figure(result: ScalingFit) -> "Figure | None":
    """Returns N*(C) and D*(C): isoFLOP minima and their line, the surface with the band of its draws, envelope steps.

    None where no approach has an answer, or sizes or compute do not vary.
    """
    if not 0 < result.fit.sampled[0] < result.fit.sampled[1] < math.inf:
        return None
    tracks = allocation_tracks(result)
    if not tracks:
        return None
    drawn = {track.approach for track in tracks}
    carried_on = drawn != {"envelope"}
    figure = new_figure(
        9.6, 4.9, f"Compute-optimal size and data: {source_title(result.points)}",
        "grey dots: runs",
            "shaded: the sampled range" + ("; dotted: up to ten times the dearest run" if carried_on else ""),
            *([f"bands: {result.fit.level:.0%} intervals"] if drawn & {"surface", "isoflop"} else []),
            *(["diamonds: isoFLOP minima, bars one standard deviation"] if "isoflop" in drawn else []),
            *(["steps: sizes that hold the envelope"] if "envelope" in drawn else []),
    )  # fmt: skip
    panels = figure.subplots(1, 2)
    for panel, is_data in zip(panels, (False, True), strict=True):
        panel.set_xscale("log")
        panel.set_yscale("log")
        _draw_runs(panel, result, is_data=is_data)
        for track in tracks:
            _draw_track(panel, track, math.log(result.fit.sampled[1]), is_data=is_data)
        _draw_minima(panel, result, tracks, is_data=is_data)
        _frame(panel, result, is_data=is_data, is_carried_on=carried_on)
        _write_exponents(panel, result, drawn, is_data=is_data)
    return figure


def _draw_runs(panel: "Axes", result: ScalingFit, *, is_data: bool) -> None:
    cells = [result.cells[i] for i in thinned(len(result.cells))]
    spent = [(cell.compute(result.fit.axis), data_of(cell) if is_data else cell.params) for cell in cells]
    known = [(x, y) for x, y in spent if x and y and x > 0 and y > 0]
    if known:
        panel.scatter(
            *zip(*known, strict=True), s=7, color="#b9b9b9", linewidths=0, zorder=2, rasterized=is_raster(len(known))
        )


def _draw_track(panel: "Axes", track: Track, log_top: float, *, is_data: bool) -> None:
    y, half = (track.log_data, track.data_half) if is_data else (track.log_params, track.params_half)
    if y is None:
        return
    colour, x = _COLOURS[track.approach], np.exp(track.log_compute)
    for part, style, alpha in (
        (track.log_compute <= log_top + 1e-9, "-", 0.2),
        (track.log_compute >= log_top - 1e-9, (0, (1, 1.6)), 0.1),
    ):
        steps = "steps-post" if track.has_steps and not is_data else "default"
        panel.plot(x[part], np.exp(y[part]), color=colour, linewidth=1.6, linestyle=style, drawstyle=steps, zorder=4)
        if half is not None:
            low, high = np.exp(y - half[0])[part], np.exp(y + half[1])[part]
            panel.fill_between(x[part], low, high, color=colour, alpha=alpha, linewidth=0, zorder=3)


def _draw_minima(panel: "Axes", result: ScalingFit, tracks: list[Track], *, is_data: bool) -> None:
    """Draws the isoFLOP minima with their bars."""
    shift = log_flops_per_unit(result)
    if result.isoflop is None or shift is None:
        return
    price = common_price(result) if is_data else None
    if is_data and price is None:
        return
    for budget in result.isoflop.used:
        if budget.log_params is None or budget.sd is None:
            continue
        log_c = budget.log_flops - shift
        log_y = log_c - price.log_k - budget.log_params if is_data and price is not None else budget.log_params
        bar = [[math.exp(log_y) - math.exp(log_y - budget.sd)], [math.exp(log_y + budget.sd) - math.exp(log_y)]]
        panel.errorbar(
            [math.exp(log_c)], [math.exp(log_y)], yerr=bar, fmt="D", color=ORANGE, markersize=4,
            markeredgecolor="white", markeredgewidth=0.7, elinewidth=1.1, capsize=2.5, zorder=6,
        )  # fmt: skip


def _frame(panel: "Axes", result: ScalingFit, *, is_data: bool, is_carried_on: bool) -> None:
    low, high = result.fit.sampled
    in_core_hours = result.fit.axis == "core_hours"
    panel.axvspan(low, high, color="#eef2f7", linewidth=0, zorder=0)
    panel.set_xlim(low / 1.5, high * (BEYOND * 1.2 if is_carried_on else 1.5))
    bottom, top = panel.get_ylim()
    panel.set_ylim(bottom, top * (top / bottom) ** _TEXT_ROOM)
    set_ticks(panel, "x", *few_compute_ticks(*panel.get_xlim(), in_core_hours=in_core_hours))
    set_ticks(panel, "y", *count_ticks(*panel.get_ylim()))
    tidy(panel)
    panel.set_xlabel("training compute [core-hours]" if in_core_hours else "training compute [FLOPs]")
    has_tokens = any(cell.tokens is not None for cell in result.cells)
    data = f"data [{data_label(result.points, has_tokens=has_tokens)}]"
    panel.set_title(data if is_data else "parameters", loc="left", fontsize=10)
    if is_carried_on:
        panel.text(
            high * 1.12,
            0.02,
            "extrapolated",
            transform=panel.get_xaxis_transform(),
            fontsize=8,
            color=FAINT,
            va="bottom",
        )


def _write_exponents(panel: "Axes", result: ScalingFit, drawn: set[str], *, is_data: bool) -> None:
    """Writes each approach's exponent into the upper left corner, in its colour."""
    rows = [row for row in result.allocations if row.approach in drawn and row.exponent_params and row.exponent_data]
    panel.text(
        0.03, 0.965, r"$D^* \propto C^{\,b}$" if is_data else r"$N^* \propto C^{\,a}$", transform=panel.transAxes,
        va="top", fontsize=POWER_POINTS, color=INK, zorder=8,
    )  # fmt: skip
    for i, row in enumerate(rows):
        panel.text(
            0.03, 0.885 - 0.065 * i, _exponent_text(row, row.exponent_data if is_data else row.exponent_params),
            transform=panel.transAxes, va="top", fontsize=9, color=_COLOURS[row.approach], zorder=8,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.0},
        )  # fmt: skip


def _exponent_text(row: AllocationEstimate, exponent: Estimate | None) -> str:
    assert exponent is not None, "refused approaches are not written"
    bounds = "" if exponent.low is None or exponent.high is None else f"  ({exponent.low:.3f} to {exponent.high:.3f})"
    return f"{_NAMES[row.approach]}  {exponent.value:.3f}{bounds}"
