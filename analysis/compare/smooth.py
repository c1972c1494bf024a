"""The loss of a family as a smooth function of size and data at its own best learning rates, with paired resamples.

The least of many noisy losses is too low, and lower where there is more noise: taken as they are, the noisier of two
equal families would win. And a grid of learning rates a factor of 2 apart lies luckier for one family than for another.
So all losses near each cell's best rate are smoothed at once: a polynomial of log size and log data, and a parabola in
the log of the rate whose middle moves with both. The loss at its lowest point, within the rates tried, is the family's.

Resamples are a wild bootstrap (C. F. J. Wu, Annals of Statistics 14, 1986): each cell's residuals are multiplied by a
random number of mean 0 and variance 1, and the surface is fitted again. Cells of two families at the same size rank and
epochs get the same number. What moved both in the same way (they saw the same images in the same order) then cancels in
their difference, and what moved only one does not: no assumption is made of how much is shared. That all runs are held
against the same images moves all of them alike, and cancels before anything is drawn.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.compare.family import Family
from analysis.compare.surface import Places, Surface
from analysis.estimators.best_rate import Cell, RateTried
from analysis.estimators.frontier import Ints
from analysis.laws import Floats

_REACHES = (1.1, 2.1)
"""Rates within so many octaves of a cell's best one shape the valley, the farther ones where there are too few."""
_LEAST_RATES = 3
"""Of a cell, to say how wide the valley is."""
_LEAST_SHARE = 0.5
"""Part of the cells that must have so many before a valley is fitted."""
_AT_EDGE = 0.1
"""Octaves from an edge within which a best rate lies on it."""

Key = tuple[int, float]
"""Size rank and epochs."""


@dataclass(frozen=True, kw_only=True)
class SmoothLosses:
    """The smoothed log losses of a family."""

    surface: Surface
    """Beside its polynomial: what multiplies r, r x size, r x data and r^2, where r is the log2 rate about a middle."""
    rates: tuple[float, float] | None
    """Lowest and highest log2 rate about that middle; missing where no valley was fitted."""
    cell_places: Places
    """Of the family's cells, in their order."""
    residual_sd: float
    """How far a cell's losses lie from the surface: seeds, and what no polynomial follows."""

    def at(self, size: Floats, images: Floats) -> Floats:
        """Returns log losses at the best rates of places (K,), first the fit's and then the resamples', (1 + R, K)."""
        level = self.surface.at(size, images)
        if self.rates is None:
            return level
        slope, bend = self._valley(size, images)
        best = np.clip(-slope / (2.0 * bend), *self.rates)
        return level + slope * best + bend * best**2

    def _valley(self, size: Floats, images: Floats) -> tuple[Floats, Floats]:
        """Returns what multiplies r and r^2 at places (K,), shapes (1 + R, K) and (1 + R, 1)."""
        beside = self.surface.beside
        n, d = self.surface.places.scaled(size, images)
        slope = beside[:, :3] @ np.stack([np.ones_like(n), n, d])
        # A resample without a valley keeps the whole's.
        return slope, np.where(beside[:, 3:] > 0, beside[:, 3:], beside[:1, 3:])

    def fit_at(self, size: Floats, images: Floats) -> Floats:
        """Returns the fit's log losses alone at places of any shape."""
        alone = replace(self, surface=replace(self.surface, coefficients=self.surface.coefficients[:1]))
        return alone.at(size.ravel(), images.ravel()).reshape(size.shape)

    @property
    def edges(self) -> Ints | None:
        """For each cell: -1, 1 where the valley is lowest at or beyond the low, the high edge of the rates, else 0.

        Of noisy losses near a flat optimum the least often lies on an edge by chance; the valley of all cells does not.
        None where no valley was fitted.
        """
        if self.rates is None:
            return None
        slope, bend = self._valley(self.cell_places.size, self.cell_places.images)
        best = -slope[0] / (2.0 * bend[0])
        low, high = self.rates
        return (best >= high - _AT_EDGE).astype(np.intp) - (best <= low + _AT_EDGE).astype(np.intp)

    @property
    def cells(self) -> Floats:
        """At the cells themselves, shape (1 + R, cells)."""
        return self.at(self.cell_places.size, self.cell_places.images)


def shared_draws(families: Iterable[Family], resamples: int, rng: np.random.Generator) -> Mapping[Key, Floats]:
    """Returns a standard normal number for each resample and key, (R,), whichever families have a cell there."""
    keys = sorted({member.key for family in families for member in family.members})
    return dict(zip(keys, rng.standard_normal((len(keys), resamples)), strict=True))


def smooth(family: Family, shared: Mapping[Key, Floats]) -> SmoothLosses:
    """Returns the smoothed losses of a family, with the resamples that `shared` asks for."""
    numbers = np.stack([shared[member.key] for member in family.members], axis=1)
    near = [_near(cell) for cell in family.cells]
    if sum(len(rates) >= _LEAST_RATES for rates in near) >= _LEAST_SHARE * len(near):
        found = _with_valley(family, near, numbers)
        if found.surface.beside[0, 3] > 0:
            return found
    return _smoothed(family, [[cell.best] for cell in family.cells], numbers, None)


def _with_valley(family: Family, near: list[list[RateTried]], numbers: Floats) -> SmoothLosses:
    tried = np.log2([rate.peak_lr or 1.0 for rates in near for rate in rates])
    return _smoothed(family, near, numbers, tried - float(np.median(tried)))


def _smoothed(family: Family, near: list[list[RateTried]], numbers: Floats, rates: Floats | None) -> SmoothLosses:
    cells = np.repeat(np.arange(len(near), dtype=np.intp), [len(some) for some in near])
    places = places_of(family)
    rows = Places(size=places.size[cells], images=places.images[cells])
    flat = [rate for some in near for rate in some]
    beside = None
    if rates is not None:
        n, d = rows.scaled(rows.size, rows.images)
        beside = np.stack([rates, rates * n, rates * d, rates**2], axis=1)
    surface = Surface.of(
        rows,
        np.log([rate.loss for rate in flat]),
        weights=np.array([rate.weight * len(rate.losses) for rate in flat]),
        cells=cells,
        numbers=numbers,
        beside=beside,
    )
    return SmoothLosses(
        surface=surface,
        rates=None if rates is None else (float(rates.min()), float(rates.max())),
        cell_places=places,
        residual_sd=float(np.sqrt(np.mean(surface.noise**2))),
    )


def _near(cell: Cell) -> list[RateTried]:
    """Returns the rates of a cell that shape its valley: those about the best one at which nothing diverged.

    Three where there are: with the best rate at an edge they are the next two on the side that was tried.
    """
    best = cell.best
    if not best.peak_lr:
        return [best]
    octaves = {
        rate: abs(math.log2(rate.peak_lr / best.peak_lr))
        for rate in cell.tried
        if rate.peak_lr and rate.batch_images == best.batch_images and (rate == best or not rate.has_diverged)
    }
    close, far = ([rate for rate, distance in octaves.items() if distance <= reach] for reach in _REACHES)
    return close if len(close) >= _LEAST_RATES else far


def places_of(family: Family) -> Places:
    """Returns where a family has cells: a model is of one size, whatever rounding to whole steps makes of a cell."""
    flops, images = np.log([[cell.flops or 1.0, cell.tokens or 1.0] for cell in family.cells]).T
    models = np.array([cell.model for cell in family.cells])
    size = flops - images
    return Places(size=np.array([np.median(size[models == model]) for model in models]), images=images)
