"""The least smoothed loss that an amount of compute buys, over all sizes between those that were run."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.compare.smooth import SmoothLosses
from analysis.compare.surface import Places, Surface
from analysis.estimators.frontier import GRID_POINTS
from analysis.laws import Floats

_SIZES, _LENGTHS = 96, 64
"""Sizes between the smallest and the largest, and lengths of a run between its shortest and its longest."""
LEAST_FREE = math.log(2.0)
"""Range of log amount in which the best size must be free; with less the whole range is taken."""


@dataclass(frozen=True, kw_only=True)
class BestLosses:
    """The least smoothed log loss of a family that an amount buys."""

    grid: Floats
    """Log amount, evenly spaced, shape (K,)."""
    log_loss: Floats
    """Shape (K,)."""
    draws: Floats
    """Of each resample, shape (R, K)."""
    is_free: bool
    """Whether on all of the grid the best size lies between the smallest and the largest that could be had.

    Where it does not, other sizes might have done better: the loss is that of the grid of cells, not of the family.
    """


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Sizes between the smallest and the largest, and lengths of a run of each; every shape is (sizes, lengths)."""

    size: Floats
    """Log FLOPs an image, the same along a row."""
    images: Floats
    """Log images, rising along a row."""
    amount: Floats
    """Log of what such a run costs."""
    log_loss: Floats
    """As the fit has it."""


def best_of_compute(smoothed: SmoothLosses, log_amounts: Floats, *, only_free: bool) -> BestLosses:
    """Returns the best losses for log amounts that the cells cost, (cells,), with `only_free` where the size is free.

    Sizes between those that were run are read off the surface, so nothing depends on where hand-overs happen to lie.
    Resamples keep the place of the best size: to first order the least loss moves as the surface moves there, and what
    they would gain by choosing anew is the profit of noise.
    """
    mesh = priced_mesh(smoothed, log_amounts)
    size, images, amount, loss = mesh.size, mesh.images, mesh.amount, mesh.log_loss
    grid = np.linspace(float(log_amounts.min()), float(log_amounts.max()), GRID_POINTS, dtype=np.float64)
    curves = np.stack([_on_grid(grid, *row) for row in zip(amount, loss, strict=True)])
    lengths = np.stack([_on_grid(grid, *row) for row in zip(amount, images, strict=True)])
    best = np.argmin(np.where(np.isnan(curves), np.inf, curves), axis=0)
    reached = ~np.isnan(curves)
    smallest, largest = np.argmax(reached, axis=0), len(curves) - 1 - np.argmax(reached[::-1], axis=0)
    covered: npt.NDArray[np.bool_] = np.asarray(reached.any(axis=0), dtype=bool)
    free = np.flatnonzero(covered & (best > smallest) & (best < largest))
    is_free = only_free and len(free) > 1 and float(grid[free[-1]] - grid[free[0]]) >= LEAST_FREE
    inside = slice(int(free[0]), int(free[-1]) + 1) if is_free else _covered(covered)
    chosen = np.arange(len(grid), dtype=np.intp)[inside]
    drawn = smoothed.at(size[best[chosen], 0], lengths[best[chosen], chosen])
    return BestLosses(grid=grid[inside], log_loss=drawn[0], draws=drawn[1:], is_free=is_free)


def priced_mesh(smoothed: SmoothLosses, log_amounts: Floats) -> Mesh:
    """Returns the sizes and lengths between those that were run, for log amounts that the cells cost, (cells,)."""
    size, images = _mesh(smoothed.cell_places)
    return Mesh(
        size=size,
        images=images,
        amount=_priced(smoothed.cell_places, log_amounts, size, images),
        log_loss=smoothed.fit_at(size, images),
    )


def _priced(places: Places, log_amounts: Floats, size: Floats, images: Floats) -> Floats:
    """Returns log amounts at other places: a surface through what the cells cost."""
    count = len(log_amounts)
    surface = Surface.of(
        places, log_amounts, weights=np.ones(count), cells=np.arange(count, dtype=np.intp), numbers=np.zeros((0, count))
    )
    return surface.at(size.ravel(), images.ravel()).reshape(size.shape)


def _covered(covered: npt.NDArray[np.bool_]) -> slice:
    """Returns the longest run of samples that some size reaches."""
    places = np.flatnonzero(covered)
    pieces = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    longest = max(pieces, key=len)
    return slice(int(longest[0]), int(longest[-1]) + 1)


def _mesh(places: Places) -> tuple[Floats, Floats]:
    """Returns log sizes and log images, (_SIZES, _LENGTHS) each: between neighbouring models what both were run for."""
    sizes = np.unique(np.round(places.size, 9))
    shortest, longest = (
        np.array([end(places.images[np.abs(places.size - size) < 1e-8]) for size in sizes]) for end in (np.min, np.max)
    )
    size = np.linspace(float(sizes[0]), float(sizes[-1]), _SIZES, dtype=np.float64)
    share = np.linspace(0.0, 1.0, _LENGTHS, dtype=np.float64)
    low, high = np.interp(size, sizes, shortest), np.interp(size, sizes, longest)
    return np.broadcast_to(size[:, None], (_SIZES, _LENGTHS)), low[:, None] + (high - low)[:, None] * share


def _on_grid(grid: Floats, amount: Floats, values: Floats) -> Floats:
    """Returns values along a run of rising length at the grid's amounts; NaN beyond its ends."""
    found = np.interp(grid, amount, values)
    return np.where((grid < amount[0] - 1e-9) | (grid > amount[-1] + 1e-9), np.nan, found)
