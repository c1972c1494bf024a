"""Resamples of a study, from which every interval comes.

With two or more seeds in a cell: seeds are drawn anew within each cell and learning rate, the best rate is chosen
again, and the frontier is derived again. A cell with one seed borrows the others' pooled noise. With S seeds the
spread of a resampled mean is too small by sqrt((S - 1) / S), so deviations are stretched by its inverse.

Without repeated seeds: the cells of each model are drawn anew (case bootstrap). That shows how much a law leans on
single cells; it knows nothing of noise that all cells share, and it is said so wherever the interval is printed.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.estimators.best_rate import Cell, RateTried
from analysis.estimators.frontier import Curves, Envelope, lower_by, running_minimum
from analysis.laws import Floats

_DRAWS_AT_ONCE = 250
_SHARE_WITH_SEEDS = 0.5
"""Seeds are resampled when at least this part of the cells was run with two seeds or more."""


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """How much the loss of a cell moves from seed to seed."""

    relative_sd: float | None
    """Pooled standard deviation of log loss over seeds; missing without repeated seeds."""
    by_model: dict[str, float]
    cells: int
    """Cells with two seeds or more."""
    seeds: int
    """Largest number of seeds in a cell."""


def seed_noise(cells: Sequence[Cell]) -> SeedNoise:
    """Returns the pooled relative noise at the best rates; each cell weighs by its degrees of freedom."""
    logs = [(cell.model, np.log(cell.best.losses)) for cell in cells if len(cell.best.losses) > 1]
    squares, freedom = defaultdict[str, float](float), defaultdict[str, int](int)
    for model, values in logs:
        squares[model] += float(((values - values.mean()) ** 2).sum())
        freedom[model] += len(values) - 1
    return SeedNoise(
        relative_sd=math.sqrt(sum(squares.values()) / sum(freedom.values())) if logs else None,
        by_model={model: math.sqrt(squares[model] / freedom[model]) for model in squares},
        cells=len(logs),
        seeds=max((len(cell.best.losses) for cell in cells), default=0),
    )


def has_seeds(cells: Sequence[Cell]) -> bool:
    """Returns whether seeds can be resampled: enough cells were run with at least two."""
    repeated = sum(len(cell.best.losses) > 1 for cell in cells)
    return repeated > 0 and repeated >= _SHARE_WITH_SEEDS * len(cells)


def resample_seeds(cells: Sequence[Cell], resamples: int, rng: np.random.Generator) -> Floats:
    """Returns log losses (resamples, cells) of cells whose seeds were drawn anew and whose rate was chosen again."""
    rates = [[rate for rate in cell.tried if not rate.has_diverged] or [cell.best] for cell in cells]
    flat = [rate for cell_rates in rates for rate in cell_rates]
    table = np.full((len(cells), max(len(cell_rates) for cell_rates in rates)), -1, dtype=np.intp)
    number = 0
    for row, cell_rates in enumerate(rates):
        table[row, : len(cell_rates)] = np.arange(number, number + len(cell_rates))
        number += len(cell_rates)
    noise = seed_noise(cells).relative_sd or 0.0
    losses, selections, seeds = _padded(flat)
    parts = [
        _choose_again(table, *_draw_means(losses, selections, seeds, noise, min(_DRAWS_AT_ONCE, resamples - i), rng))
        for i in range(0, resamples, _DRAWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _padded(rates: Sequence[RateTried]) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Returns held-out log losses and selection log losses (rates, most seeds), and the seeds of each rate."""
    seeds = np.array([len(rate.losses) for rate in rates], dtype=np.intp)
    losses, selections = np.zeros((2, len(rates), int(seeds.max())))
    for row, rate in enumerate(rates):
        losses[row, : len(rate.losses)] = np.log(rate.losses)
        selections[row, : len(rate.losses)] = np.log(np.maximum(rate.selection_losses, 1e-300))
    return losses, selections, seeds


def _draw_means(
    losses: Floats, selections: Floats, seeds: npt.NDArray[np.intp], noise: float, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Returns resampled mean log losses and selection log losses, (draws, rates) each."""
    count, most = losses.shape
    used: npt.NDArray[np.bool_] = np.arange(most, dtype=np.intp)[None] < seeds[:, None]
    stretch = np.sqrt(seeds / np.maximum(seeds - 1, 1)) / seeds
    # A cell's own loss is the log of its mean over seeds: resamples are centred there, and moved by what was drawn.
    centres = [np.log(np.where(used, np.exp(values), 0.0).sum(axis=1) / seeds) for values in (losses, selections)]
    means = [np.where(used, values, 0.0).sum(axis=1, keepdims=True) / seeds[:, None] for values in (losses, selections)]
    moves = [(v - mean) * stretch[:, None] for v, mean in zip((losses, selections), means, strict=True)]
    drawn = [np.tile(centre, (draws, 1)) for centre in centres]
    rows: npt.NDArray[np.intp] = np.arange(count, dtype=np.intp) * most
    # Single precision may round up to the next whole number: stay just below it.
    spread = (seeds * (1 - 1e-6)).astype(np.float32)
    for turn in range(most):
        # Every rate draws as often as it has seeds; the same draw counts for both losses.
        place = rows + (rng.random((draws, count), dtype=np.float32) * spread).astype(np.intp)
        for total, move in zip(drawn, moves, strict=True):
            total += move.ravel().take(place) * used[:, turn]
    if noise and (seeds == 1).any():
        for total in drawn:
            total += np.where(seeds == 1, rng.normal(0.0, noise, size=(draws, count)), 0.0)
    return drawn[0], drawn[1]


def _choose_again(table: npt.NDArray[np.intp], losses: Floats, selections: Floats) -> Floats:
    """Returns log losses (draws, cells) at the rate with the least selection loss in each draw."""
    candidates = np.where(table >= 0, selections[:, table], np.inf)
    best = np.argmin(candidates, axis=2)
    return np.take_along_axis(losses[:, table], best[:, :, None], axis=2)[:, :, 0]


def resample_cells(curves: Curves, log_loss: Floats, resamples: int, rng: np.random.Generator) -> Envelope:
    """Returns the envelopes of resamples in which the cells of each model were drawn anew.

    Interpolation forgets how often a cell was drawn, so members with the same set of cells share one curve.
    """
    shape = (resamples, len(curves.grid))
    best, winner = np.full(shape, np.inf), np.full(shape, -1, dtype=np.intp)
    covered = np.zeros(shape, dtype=bool)
    for model, members in enumerate(curves.members):
        drawn = rng.integers(0, len(members), size=(resamples, len(members)))
        present = np.zeros((resamples, len(members)), dtype=bool)
        np.put_along_axis(present, drawn, values=True, axis=1)
        sets, which = np.unique(present, axis=0, return_inverse=True)
        patterns = np.full((len(sets), len(curves.grid)), np.inf)
        for row, chosen in enumerate(sets):
            interpolation = curves.interpolation(model, np.flatnonzero(chosen))
            patterns[row, interpolation.reached] = interpolation.curve(log_loss[None])[0]
        curve = patterns[which.ravel()]
        lower_by(best, winner, model, slice(None), curve)
        covered |= np.isfinite(curve)
    return running_minimum(best, winner, covered)


def case_weights(rows: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Returns how often each of `rows` rows is drawn in each resample, (resamples, rows)."""
    return rng.multinomial(rows, np.full(rows, 1.0 / rows), size=resamples).astype(np.float64)


def frontier_weights(log_loss: Floats, weights: Floats) -> Floats:
    """Returns `weights` on each member's measured frontier and 0 off it; rows must come cheapest first.

    Args:
        log_loss: shape (R, rows) or (1, rows).
        weights: how often a row is present, (R, rows).
    """
    present = np.where(weights > 0, log_loss, np.inf)
    so_far = np.minimum.accumulate(present, axis=1)
    before = np.concatenate([np.full((len(present), 1), np.inf), so_far[:, :-1]], axis=1)
    return np.where(present < before, weights, 0.0)


def published_weights(rows: int, resamples: int) -> Floats:
    """Returns how often each of `rows` rows is drawn, (resamples, rows), in the very resamples of arXiv:2404.10102.

    Its notebook draws row numbers from NumPy's legacy generator with seed 42; drawing them so lets anybody compare
    standard errors without the noise of other resamples, which moves the one of B by a tenth.
    """
    legacy = np.random.RandomState(42)
    weights = np.empty((resamples, rows))
    for i in range(resamples):
        weights[i] = np.bincount(legacy.randint(0, rows, rows), minlength=rows)
    return weights


def residual_losses(
    log_predicted: Floats, log_loss: Floats, parameters: int, resamples: int, rng: np.random.Generator
) -> Floats:
    """Returns log losses (resamples, n): the law, and residuals drawn from all rows.

    As many of the smallest residuals as there are parameters are not drawn: a nearly absolute loss runs through that
    many rows, whose residuals are zero for that reason alone.
    """
    residual = log_loss - log_predicted
    drawn_from = residual[np.argsort(np.abs(residual), kind="stable")]
    if len(residual) > 2 * parameters:
        drawn_from = drawn_from[parameters:]
    drawn_from = drawn_from - drawn_from.mean()
    return log_predicted + drawn_from[rng.integers(0, len(drawn_from), size=(resamples, len(residual)))]


def correlation_squared(x: Floats, y: Floats) -> float:
    """Returns the squared correlation; NaN where nothing varies."""
    if len(x) < 2 or float(np.ptp(x)) == 0 or float(np.ptp(y)) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1] ** 2)
