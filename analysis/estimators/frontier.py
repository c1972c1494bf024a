"""The best loss for a compute, read in two ways that are kept apart.

Measured: the cells that beat every cheaper cell. Nothing is assumed, but it depends on where the grid has its cells.
Interpolated: each model's own curve is a straight line between neighbouring cells in log-log (cost is linear in epochs,
so any budget between two cells can be spent on that model), and the envelope is the least of the curves. It is sampled
evenly in log compute, so that every octave of compute weighs the same in a law, however many cells fell into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.estimators.best_rate import Cell
from analysis.laws import Floats

GRID_POINTS = 256
"""Samples of the interpolated envelope; hand-overs are refined between them."""
_MEMBERS_AT_ONCE = 250
"""So that the arrays of one step stay in a core's cache."""
_FITS = 1.01
"""Figures and calibrations are read to a per cent: the tolerance of a budget (sweeps.budget)."""

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The cells of each model as curves on one sampled compute axis."""

    models: tuple[str, ...]
    """By rising size: parameters, else compute per epoch, else cheapest cell."""
    members: tuple[Ints, ...]
    """For each model: indices into the cells, by rising compute."""
    log_compute: Floats
    """Log compute of every cell, shape (cells,)."""
    grid: Floats
    """Log compute where envelopes are sampled, shape (GRID_POINTS,)."""

    def interpolation(self, model: int, chosen: Ints | None = None) -> "Interpolation":
        """Returns how a model's cells give its curve on the grid.

        Args:
            model: index into `models`.
            chosen: positions within `members[model]` to use, rising; all of them by default.
        """
        members = self.members[model] if chosen is None else self.members[model][chosen]
        knots = self.log_compute[members]
        start, stop = np.searchsorted(self.grid, [knots[0] - 1e-9, knots[-1] + 1e-9])
        reached = self.grid[start:stop]
        right = np.clip(np.searchsorted(knots, reached, side="right"), 1, max(1, len(knots) - 1))
        left = right - 1
        right = np.minimum(right, len(knots) - 1)
        # Two runs may cost the same.
        width = np.where(right > left, np.maximum(knots[right] - knots[left], 1e-300), 1.0)
        return Interpolation(
            reached=slice(int(start), int(stop)),
            left=members[left],
            right=members[right],
            share=np.clip((reached - knots[left]) / width, 0.0, 1.0),
        )


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """A model's curve on the grid: a mean of two neighbouring cells at each sample that the model reaches."""

    reached: slice
    """The samples between its cheapest and its dearest cell."""
    left: Ints
    """Index of the cell at or below each sample, shape (reached,)."""
    right: Ints
    share: Floats
    """Weight of the right cell."""

    def curve(self, log_loss: Floats) -> Floats:
        """Returns the curve (R, reached) of log losses (R, cells)."""
        # No matrix product: BLAS threads cost more than they save at this size.
        return log_loss[:, self.left] * (1.0 - self.share) + log_loss[:, self.right] * self.share


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The least of the curves for R members (the measured losses, or resamples of them)."""

    log_loss: Floats
    """Shape (R, grid); the running minimum, as a budget need not be spent. Infinite below the cheapest cell."""
    winner: Ints
    """Index of the model that gives it, shape (R, grid); -1 where there is none."""
    is_covered: npt.NDArray[np.bool_]
    """Whether some model's curve reaches there, shape (R, grid); laws are fitted only where it is."""


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """A compute at which another model becomes the best choice."""

    compute: float
    before: str
    after: str
    cut_off: tuple[str, ...]
    """Smaller models whose longest run is cheaper: had they run longer, they might still win."""
    is_forced_by_cap: bool
    """Whether `before` itself is among those cut off."""
    is_first_cell: bool
    """Whether `after` was not there before: its cheapest cell costs this much, so it might win earlier."""

    @property
    def is_free(self) -> bool:
        """Whether both models could have been chosen on either side, and no smaller one was cut off."""
        return not self.cut_off and not self.is_first_cell


def log_compute(cells: Sequence[Cell], axis: str) -> Floats:
    """Returns the log of what each cell cost on an axis; NaN where that is unknown."""
    return np.log(np.array([cell.compute(axis) for cell in cells], dtype=np.float64))


def log_losses(cells: Sequence[Cell]) -> Floats:
    """Returns the log of each cell's loss."""
    return np.log(np.array([cell.loss for cell in cells], dtype=np.float64))


def cell_weights(cells: Sequence[Cell]) -> Floats:
    """Returns how much each cell's loss counts."""
    return np.array([cell.weight for cell in cells], dtype=np.float64)


def measured_frontier(cells: Sequence[Cell], axis: str) -> tuple[Cell, ...]:
    """Returns the cells whose loss is below that of every cell at most as dear, cheapest first."""
    best = np.inf
    frontier: list[Cell] = []
    for cell in sorted(cells, key=lambda cell: (cell.compute(axis) or np.inf, cell.loss)):
        if cell.loss < best:
            best = cell.loss
            frontier.append(cell)
    return tuple(frontier)


def curves_of(cells: Sequence[Cell], axis: str) -> Curves:
    """Returns the curves of `cells`, all of which must have a compute on `axis`.

    Where two cells of a model cost the same, only the better is on its curve.
    """
    compute = np.array([cell.compute(axis) for cell in cells], dtype=np.float64)
    members: dict[str, dict[float, int]] = {}
    for i, cell in enumerate(cells):
        knots = members.setdefault(cell.model, {})
        twin = knots.get(float(compute[i]))
        if twin is None or cell.loss < cells[twin].loss:
            knots[float(compute[i])] = i
    models = sorted(members, key=lambda model: _size([cells[i] for i in members[model].values()], axis))
    log_compute: Floats = np.log(compute)
    grid: Floats = np.linspace(log_compute.min(), log_compute.max(), GRID_POINTS, dtype=np.float64)
    return Curves(
        models=tuple(models),
        members=tuple(np.array([members[m][c] for c in sorted(members[m])], dtype=np.intp) for m in models),
        log_compute=log_compute,
        grid=grid,
    )


def _size(cells: Sequence[Cell], axis: str) -> tuple[float, float]:
    """Returns what models are ordered by: parameters, else compute per epoch, else the cheapest cell."""
    compute = [cell.compute(axis) or np.inf for cell in cells]
    params = cells[0].params
    if params is not None:
        return params, min(compute)
    per_epoch = [spent / cell.epochs for spent, cell in zip(compute, cells, strict=True) if cell.epochs]
    return (float(np.median(per_epoch)) if per_epoch else min(compute)), min(compute)


def envelope(curves: Curves, log_loss: Floats) -> Envelope:
    """Returns the lower envelope of R members; `log_loss` has shape (R, cells)."""
    interpolations = [curves.interpolation(model) for model in range(len(curves.models))]
    covered = np.zeros(len(curves.grid), dtype=bool)
    for interpolation in interpolations:
        covered[interpolation.reached] = True
    parts: list[Envelope] = []
    for i in range(0, max(1, len(log_loss)), _MEMBERS_AT_ONCE):
        some = log_loss[i : i + _MEMBERS_AT_ONCE]
        best = np.full((len(some), len(curves.grid)), np.inf)
        winner = np.full(best.shape, -1, dtype=np.intp)
        for model, interpolation in enumerate(interpolations):
            lower_by(best, winner, model, interpolation.reached, interpolation.curve(some))
        parts.append(running_minimum(best, winner, np.broadcast_to(covered, best.shape)))
    return Envelope(
        log_loss=np.concatenate([part.log_loss for part in parts]),
        winner=np.concatenate([part.winner for part in parts]),
        is_covered=np.concatenate([part.is_covered for part in parts]),
    )


def lower_by(best: Floats, winner: Ints, model: int, reached: slice, curve: Floats) -> None:
    """Lowers `best` and sets `winner`, both (R, grid), where a model's curve over the samples it reached is below."""
    np.copyto(winner[:, reached], model, where=curve < best[:, reached])
    np.minimum(best[:, reached], curve, out=best[:, reached])


def running_minimum(best: Floats, winner: Ints, covered: npt.NDArray[np.bool_]) -> Envelope:
    """Returns the envelope of what the best model costs at most so much: a cheaper, better choice stays the choice."""
    lowest = np.minimum.accumulate(best, axis=1)
    columns: Ints = np.arange(best.shape[1], dtype=np.intp)
    holder = np.maximum.accumulate(np.where(best <= lowest, columns, 0), axis=1)
    return Envelope(
        log_loss=lowest, winner=np.take_along_axis(winner, holder, axis=1), is_covered=np.asarray(covered, dtype=bool)
    )


def envelope_weights(cells: Sequence[Cell], curves: Curves, lower: Envelope) -> Floats:
    """Returns how much each sample of the envelope's first member counts, (grid,): as the cells it lies between do."""
    log_loss, winner, weights = lower.log_loss[0], lower.winner[0], cell_weights(cells)
    # Where the envelope runs level, the loss is that of the last sample at which it fell.
    falls = np.concatenate([[True], log_loss[1:] < log_loss[:-1]])
    holder = np.maximum.accumulate(np.where(falls, np.arange(len(falls), dtype=np.intp), 0))
    found = np.ones(len(log_loss))
    for model in range(len(curves.models)):
        interpolation = curves.interpolation(model)
        own = np.ones(len(log_loss))
        own[interpolation.reached] = interpolation.curve(weights[None])[0]
        found = np.where(winner == model, own[holder], found)
    return found


def hand_overs(cells: Sequence[Cell], curves: Curves, lower: Envelope) -> tuple[HandOver, ...]:
    """Returns where the winner of the envelope's first member changes, refined between the samples."""
    winner, log_loss = lower.winner[0], log_losses(cells)
    found: list[HandOver] = []
    for k in np.nonzero(np.diff(winner))[0]:
        old, new = int(winner[k]), int(winner[k + 1])
        if old < 0 or new < 0:
            continue
        compute = float(np.exp(_crossing(log_loss, curves, old, new, int(k))))
        ends = {m: float(np.exp(curves.log_compute[curves.members[m][-1]])) for m in range(max(old, new))}
        cut_off = [m for m in ends if m != new and ends[m] <= compute * _FITS]
        first_cell = float(np.exp(curves.log_compute[curves.members[new][0]]))
        found.append(
            HandOver(
                compute=compute,
                before=curves.models[old],
                after=curves.models[new],
                cut_off=tuple(curves.models[m] for m in cut_off),
                is_forced_by_cap=old in cut_off,
                is_first_cell=first_cell * _FITS >= compute,
            )
        )
    return tuple(found)


def _crossing(log_loss: Floats, curves: Curves, old: int, new: int, k: int) -> float:
    """Returns the log compute between samples k and k + 1 where curve `new` falls below curve `old`."""
    left, right = float(curves.grid[k]), float(curves.grid[k + 1])
    knots = {
        model: (curves.log_compute[curves.members[model]], log_loss[curves.members[model]]) for model in (old, new)
    }
    # np.interp holds an ended curve at its last loss: a budget need not be spent.
    low, high = max(left, min(float(knots[new][0][0]), right)), right
    if high <= low:
        return float(low)
    gap = [float(np.interp(x, *knots[new]) - np.interp(x, *knots[old])) for x in (low, high)]
    if gap[0] <= 0 or gap[0] == gap[1]:
        return float(low)
    return float(low + (high - low) * min(1.0, gap[0] / (gap[0] - gap[1])))
