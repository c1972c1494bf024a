"""When a fit is refused, and what a reader must know before believing one."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from analysis.best_rate import Cell
from analysis.laws import Law
from analysis.points import PointSet
from analysis.result import FitRefused, Notice, ScalingFit
from analysis.surface_picks import data_of
from sweeps.budget import format_core_hours

_LEAST_FRONTIER = 3
_LEAST_SPAN = 1.9
"""Least factor between the cheapest and the dearest cell of a law."""


def refuse_too_few(points: PointSet, cells: Sequence[Cell], axis: str, law: Law) -> None:
    """Raises FitRefused when `cells` cannot carry `law`; does nothing otherwise."""
    aside = ", ".join(f"{item.count} {item.reason}" for item in points.set_aside)
    hint = f"make sweep BUDGET=10k STUDY={points.study}" if points.study else "give a table with more usable rows"
    rows = len(points.points) + sum(item.count for item in points.set_aside)
    if not cells:
        what = f"{points.source} holds " + (f"{rows} runs, none with a usable loss" if rows else "no runs")
        raise FitRefused(code="no_points", reason=f"{what}{f' ({aside})' if aside else ''}", next=f"try: {hint}")
    computes = {cell.compute(axis) for cell in cells}
    needed = len(law.parameters) + 1
    span = max(c or 0.0 for c in computes) / min(c or math.inf for c in computes)
    if len(cells) < needed or len(computes) < needed or span < _LEAST_SPAN:
        raise FitRefused(
            code="too_few_cells",
            reason=f"{law.formula} needs at least {needed} cells of different compute over a factor of "
            f"{_LEAST_SPAN:g}; {points.source} has {len(cells)} over a factor of {span:.3g}"
            + (f" (set aside: {aside})" if aside else ""),
            next=f"try: {hint}",
        )
    if not law.fits_frontier:
        _refuse_flat_surface(points, cells, law)


def refuse_no_fall(points: PointSet, frontier: Sequence[Cell], law: Law) -> None:
    """Raises FitRefused when fewer than three cells beat every cheaper one: then loss does not fall with compute."""
    if law.fits_frontier and len(frontier) < _LEAST_FRONTIER:
        hint = f"make sweep BUDGET=10k STUDY={points.study}" if points.study else "look at the losses and their columns"
        raise FitRefused(
            code="frontier_too_short",
            reason=f"only {len(frontier)} of the cells in {points.source} beat every cheaper cell, so their loss does "
            f"not fall with compute; {law.formula} needs at least {_LEAST_FRONTIER}",
            next=f"try: {hint}",
        )


def _refuse_flat_surface(points: PointSet, cells: Sequence[Cell], law: Law) -> None:
    """Raises FitRefused unless parameters and data both vary, and not in step."""
    usable = [(math.log(c.params), math.log(data_of(c) or math.nan)) for c in cells if c.params and data_of(c)]
    if not usable:
        raise FitRefused(
            code="no_params",
            reason=f"{law.formula} needs parameters and data of every row, which {points.source} does not give",
            next="name them (try: --columns loss=loss params=params tokens=tokens flops=flops)",
        )
    table = np.array(usable) - np.mean(usable, axis=0)
    weakest = float(np.linalg.svd(table, compute_uv=False)[-1]) / math.sqrt(len(table))
    distinct = min(len({round(row[i], 6) for row in usable}) for i in (0, 1))
    if len(usable) <= len(law.parameters) or distinct < 3 or weakest < 0.05:
        raise FitRefused(
            code="design_too_flat",
            reason=f"{law.formula} needs at least three sizes, each with different amounts of data; "
            f"{points.source} has {len(usable)} cells whose parameters and data hardly vary apart",
            next="add runs of one size with other amounts of data, or try --law power",
        )


def notices_of(result: ScalingFit) -> tuple[Notice, ...]:
    """Returns every warning that applies, gravest first."""
    return (*_of_rates(result), *_of_floor(result), *_of_caps(result), *_of_data(result), *_of_intervals(result))


def _of_rates(result: ScalingFit) -> Iterator[Notice]:
    frontier = {id(cell) for cell in result.frontier}
    for edge, word, factor in (("high", "highest", 2.0), ("low", "lowest", 0.5)):
        cells = [cell for cell in result.cells if cell.edge == edge]
        if not cells:
            continue
        names = ", ".join(_cell_name(cell) for cell in cells[:6]) + (" ..." if len(cells) > 6 else "")
        on = sum(id(cell) in frontier for cell in cells)
        rates = [cell.best.peak_lr for cell in cells if cell.best.peak_lr is not None]
        wanted = factor * (max(rates) if edge == "high" else min(rates))
        next_step = (
            f"add an octave: make sweep BUDGET={_largest_budget(result)} STUDY={result.points.study} "
            f"EXTRA='study.peak_lrs={_with(result, wanted)}'"
            if result.points.study and result.fit.axis == "core_hours"
            else f"add runs at peak_lr={wanted:g}"
        )
        yield Notice(
            code="edge_of_grid",
            text=f"the best learning rate is the {word} one tried in {len(cells)} cells ({names}), {on} of them on the "
            f"frontier: their optimum is censored; {next_step}",
        )
    single = sum(cell.edge == "single" for cell in result.cells)
    if single:
        yield Notice(
            code="single_rate",
            text=f"{single} cells were run at one learning rate only: nothing says that it is their best",
        )


def _largest_budget(result: ScalingFit) -> str:
    return format_core_hours(max(result.points.budgets_core_hours, default=result.fit.sampled[1]))


def _with(result: ScalingFit, wanted: float) -> str:
    rates = {rate.peak_lr for cell in result.cells for rate in cell.tried if rate.peak_lr is not None}
    return "[" + ",".join(f"{rate:g}" for rate in sorted({*rates, wanted})) + "]"


def _cell_name(cell: Cell) -> str:
    return cell.model if cell.epochs is None else f"{cell.model} x {cell.epochs:g}"


def _of_floor(result: ScalingFit) -> Iterator[Notice]:
    floor = result.fit.parameters.get("E")
    if floor is None:
        return
    least = min(cell.loss for cell in result.cells)
    low = floor.value if floor.low is None else floor.low
    high = floor.value if floor.high is None else floor.high
    if low <= 0.02 * least or high >= 0.98 * least:
        touched = "zero" if low <= 0.02 * least else f"the least loss measured ({least:.4g})"
        yield Notice(
            code="floor_not_identified",
            text=f"the floor E = {floor.value:.4g} is not identified: its interval ({low:.4g} to {high:.4g}) reaches "
            f"{touched}; the data cannot tell a floor from none",
        )


def _of_caps(result: ScalingFit) -> Iterator[Notice]:
    forced = [c.hand_over for c in result.crossings if c.hand_over.is_forced_by_cap]
    if forced:
        first = min(forced, key=lambda at: at.compute)
        unit = result.compute_unit
        shown = format_core_hours(first.compute) if unit == "core-hours" else f"{first.compute:.3g}"
        yield Notice(
            code="epoch_cap",
            text=f"from {shown} {unit} on, a size changes because {first.before} was not run for longer: above that "
            "the envelope is a bound set by the epoch cap",
        )


def _of_data(result: ScalingFit) -> Iterator[Notice]:
    points = result.points
    if points.tainted:
        yield Notice(code="tainted", text=f"{points.tainted} runs are marked as tainted; they are used like the others")
    if points.has_derived_tokens:
        yield Notice(code="tokens_derived", text="no column of tokens: D was computed as FLOPs / (6 params)")
    has_choice = any(len(cell.tried) > 1 for cell in result.cells)
    if has_choice and any(p.selection_loss is None for p in points.points):
        yield Notice(
            code="chosen_on_reported_loss",
            text="some runs have no selection loss: their learning rate was chosen on the loss that is reported, "
            "which flatters it",
        )
    if len(points.code_versions) > 1:
        versions = ", ".join(points.code_versions[:6])
        text = f"the runs come from {len(points.code_versions)} code versions: {versions}"
        yield Notice(code="mixed_code", text=text)


def _of_intervals(result: ScalingFit) -> Iterator[Notice]:
    fit = result.fit
    if fit.interval_method == "cells" and fit.law.fits_frontier:
        yield Notice(
            code="cells_resampled",
            text="no repeated seeds: the intervals come from leaving cells out by chance; they show how much the law "
            "leans on single cells, not the noise of a run",
        )
    if fit.interval_method == "seeds" and result.noise.seeds < 3:
        yield Notice(code="few_seeds", text="two seeds a cell: the noise itself is known to a factor of two at best")
    if fit.failed_resamples > 0.05 * max(1, fit.resamples):
        yield Notice(
            code="resamples_failed",
            text=f"{fit.failed_resamples} of {fit.resamples} resamples gave no fit and are left out of the intervals",
        )
    if math.log10(fit.sampled[1] / fit.sampled[0]) < 1.0:
        yield Notice(code="short_range", text="the cells span less than a factor of 10 in compute: the law is local")
    if fit.slopes and abs(fit.slopes[0] - fit.slopes[1]) > 0.25 * abs(sum(fit.slopes) / 2):
        yield Notice(
            code="not_straight",
            text=f"the envelope bends: slope {fit.slopes[0]:.3f} in its cheap half, {fit.slopes[1]:.3f} in the other",
        )
