"""When a fit is refused as a whole: too few runs, no fall, a design that cannot tell the parameters apart."""

import math
from collections.abc import Sequence

import numpy as np

from analysis.estimators.allocation import data_of
from analysis.estimators.best_rate import Cell
from analysis.fitting import Prior
from analysis.laws import Law
from analysis.refusal import FitRefused
from analysis.tables.points import PointSet
from sweeps.errors import StudyError

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
    distinct = len(computes) if law.fits_frontier else needed  # budgets may be few where sizes are many
    if len(cells) < needed or distinct < needed or span < _LEAST_SPAN:
        raise FitRefused(
            code="too_few_cells",
            reason=f"{law.formula} needs at least {needed} cells of different compute over a factor of "
            f"{_LEAST_SPAN:g}; {points.source} has {len(cells)} over a factor of {span:.3g}"
            + (f" (set aside: {aside})" if aside else ""),
            next=f"try: {hint}",
        )
    if not law.fits_frontier:
        refuse_flat_surface(points, cells, law)


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


def refuse_flat_surface(points: PointSet, cells: Sequence[Cell], law: Law) -> None:
    """Raises FitRefused unless parameters and data both vary, and not in step."""
    usable = [(math.log(c.params), math.log(data_of(c) or math.nan)) for c in cells if c.params and data_of(c)]
    if "unique_data" in law.variables and all(c.unique_tokens for c in cells):
        # Where the data seen go in step with size, distinct data may not.
        usable = [(math.log(c.params), math.log(c.unique_tokens or math.nan)) for c in cells if c.params]
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


def refuse_unknown_priors(law: Law, priors: Sequence[Prior]) -> None:
    """Raises StudyError for a prior of a parameter that the law does not have."""
    for prior in priors:
        if prior.parameter not in law.parameters:
            raise StudyError(
                f"{law.formula} has no {prior.parameter} to hold; it has {', '.join(law.parameters)} "
                "(try: --law power_floor, or --law surface)"
            )


def refuse_high_floor(points: PointSet, priors: Sequence[Prior]) -> None:
    """Raises StudyError for a floor pinned at or above the least loss: no law with it comes near the runs."""
    least = min((point.loss for point in points.points), default=math.inf)
    for prior in priors:
        if prior.parameter == "E" and prior.sd == 0 and prior.value >= least:
            raise StudyError(
                f"a floor of {prior.value:.4g} is not below the least loss, {least:.4g} "
                f"(try: --floor {0.8 * least:.3g})"
            )
