"""What a law is fitted to: the measured rows or the envelope they span, and resamples of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.estimators.bootstrap import case_weights, frontier_weights, has_seeds, resample_cells, resample_seeds
from analysis.estimators.frontier import (
    Curves,
    Envelope,
    cell_weights,
    envelope,
    envelope_weights,
    log_compute,
    log_losses,
)
from analysis.laws import Floats

_SHARE_OF_A_CURVE = 1 / 3
_CELLS_PER_CURVE = 3
"""A model's curve is interpolated when the models have at least this many cells each, in the median."""


@dataclass(frozen=True, kw_only=True)
class FrontierRows:
    """What a law is fitted to: shared design, measured log losses, and resamples of them."""

    fitted_on: str
    log_values: dict[str, Floats]
    log_loss: Floats
    """Shape (n,)."""
    base_weights: Floats
    """How much each row counts, shape (n,): less where it rests on tainted runs."""
    drawn_loss: Floats
    """Shape (R, n); R is 0 without resamples."""
    weights: Floats
    """How often a row counts in each resample, times its base weight, shape (R, n)."""
    measured: dict[str, Floats]
    """Log variables of the measured rows behind the law, on which objective and scatter are taken."""
    measured_loss: Floats
    measured_weights: Floats
    resampled: Envelope | None
    method: str


def has_curves(curves: Curves, *, has_models: bool) -> bool:
    """Returns whether models have enough cells each for their curves, and so the envelope, to mean something."""
    return has_models and float(np.median([len(members) for members in curves.members])) >= _CELLS_PER_CURVE


def are_one_curve(cells: Sequence[Cell], frontier: Sequence[Cell], axis: str, *, has_models: bool) -> bool:
    """Returns whether the cells are noisy points of one curve, rather than a cloud above it: then all of them count.

    Of points of a curve that falls about as much from one to the next as they scatter, half beat every cheaper one; of
    a cloud few do. Of parameters or data alone every run is the best there is. To fit only those that came out low
    would put the curve too low.
    """
    if axis in ("params", "tokens"):
        return True
    if has_models and 2 * len({cell.model for cell in cells}) < len(cells) + 1:
        return False
    return len(frontier) >= _SHARE_OF_A_CURVE * len(cells)


def frontier_rows(
    cells: Sequence[Cell], frontier: Sequence[Cell], curves: Curves, lower: Envelope, *, has_models: bool, axis: str,
    is_one_curve: bool, resamples: int, rng: np.random.Generator,
) -> FrontierRows:  # fmt: skip
    """Returns the rows of a law of the best loss: the interpolated envelope, or without curves the measured frontier.

    Seeds are resampled where there are enough of them, cells otherwise.
    """
    drawn = resample_seeds(cells, resamples, rng) if resamples and has_seeds(cells) else None
    if not has_curves(curves, has_models=has_models):
        return _cell_rows(cells, frontier, axis, drawn, is_one_curve=is_one_curve, resamples=resamples, rng=rng)
    resampled = None
    if drawn is not None:
        resampled = envelope(curves, drawn)
    elif resamples:
        resampled = resample_cells(curves, log_losses(cells), resamples, rng)
    covered = lower.is_covered[0]
    nothing = np.zeros((0, int(covered.sum())))
    base_weights = envelope_weights(cells, curves, lower)[covered]
    return FrontierRows(
        fitted_on="interpolated envelope",
        log_values={"compute": curves.grid[covered]},
        log_loss=lower.log_loss[0, covered],
        base_weights=base_weights,
        drawn_loss=nothing if resampled is None else resampled.log_loss[:, covered],
        weights=nothing if resampled is None else resampled.is_covered[:, covered] * base_weights,
        measured={"compute": log_compute(frontier, axis)},
        measured_loss=log_losses(frontier),
        measured_weights=cell_weights(frontier),
        resampled=resampled,
        method=_method(cells, resamples),
    )


def _cell_rows(
    cells: Sequence[Cell], frontier: Sequence[Cell], axis: str, drawn: Floats | None,
    *, is_one_curve: bool, resamples: int, rng: np.random.Generator,
) -> FrontierRows:  # fmt: skip
    """Returns the rows of a law that is fitted to cells as they were measured: all of one curve, or the frontier's."""
    order = np.argsort(log_compute(cells, axis), kind="stable")
    base, base_weights = log_losses(cells)[order], cell_weights(cells)[order]
    is_by_seeds = has_seeds(cells)
    weights = np.ones((resamples, len(cells))) if is_by_seeds else case_weights(len(cells), resamples, rng)
    drawn_loss = np.broadcast_to(base, weights.shape) if drawn is None else drawn[:, order]
    log_x = log_compute(cells, axis)[order]
    if is_one_curve:
        fitted, shown = base, (log_x, base, base_weights)
        weights = weights * base_weights
    else:
        fitted = np.where(frontier_weights(base[None], np.ones((1, len(cells))))[0] > 0, base, np.nan)
        shown = (log_compute(frontier, axis), log_losses(frontier), cell_weights(frontier))
        weights = frontier_weights(drawn_loss, weights) * base_weights
    return FrontierRows(
        fitted_on="every run" if is_one_curve else "measured frontier",
        log_values={"compute": log_x},
        log_loss=fitted,
        base_weights=base_weights,
        drawn_loss=drawn_loss,
        weights=weights,
        measured={"compute": shown[0]},
        measured_loss=shown[1],
        measured_weights=shown[2],
        resampled=None,
        method=_method(cells, resamples),
    )


def _method(cells: Sequence[Cell], resamples: int) -> str:
    if not resamples:
        return "none"
    return "seeds" if has_seeds(cells) else "cells"
