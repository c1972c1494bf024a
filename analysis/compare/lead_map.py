"""Which family leads where: the best loss within a limit of model size and a limit of training compute.

A device allows so many parameters or multiply-accumulates, a budget so much compute. Of each family the best smoothed
loss is taken over all sizes and lengths within both, neither of which need be used up: it never rises with either.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.compare.axes import AXES, Axis
from analysis.compare.best import Mesh, priced_mesh
from analysis.compare.family import Family
from analysis.compare.smooth import SmoothLosses
from analysis.estimators.frontier import Ints
from analysis.laws import Floats

STEPS = 48
"""Places along each side of a map."""
LIMITS = (AXES["macs"], AXES["params"])
"""Sizes that a device limits."""


@dataclass(frozen=True, kw_only=True)
class Corner:
    """Who leads at one place of a map."""

    size: float
    compute: float
    leader: int
    """By its place among the families."""
    is_sure: bool
    lead: float
    """Log of the loss of the second over that of the leader."""


@dataclass(frozen=True, kw_only=True)
class LeadMap:
    """The leading family at each limit of size and of compute."""

    limit: Axis
    """What limits the size."""
    compute: Axis
    """What is spent."""
    sizes: Floats
    """Limits of size, rising evenly in their logarithm, shape (S,)."""
    computes: Floats
    """Limits of compute, likewise, shape (C,)."""
    log_losses: Floats
    """Least log loss of each family within both limits, shape (families, C, S)."""
    share: Floats
    """Part of the resamples in which each family leads, shape (families, C, S)."""
    level: float

    @property
    def leader(self) -> Ints:
        """The family with the least loss, by its place, shape (C, S)."""
        return np.argmin(self.log_losses, axis=0)

    @property
    def is_sure(self) -> npt.NDArray[np.bool_]:
        """Whether the leader leads in so many resamples as an interval is meant to hold, shape (C, S)."""
        return np.take_along_axis(self.share, self.leader[None], axis=0)[0] >= self.level

    @property
    def lead(self) -> Floats:
        """Log of the loss of the second over that of the leader, shape (C, S)."""
        first, second = np.sort(self.log_losses, axis=0)[:2]
        return second - first

    @property
    def corners(self) -> tuple["Corner", ...]:
        """The leaders at the least and the most of size and compute: small and cheap first, large and dear last."""
        return tuple(
            Corner(
                size=float(self.sizes[s]),
                compute=float(self.computes[c]),
                leader=int(self.leader[c, s]),
                is_sure=bool(self.is_sure[c, s]),
                lead=float(self.lead[c, s]),
            )
            for c in (0, -1)
            for s in (0, -1)
        )

    def area(self, family: int, *, is_sure: bool) -> float:
        """Returns the part of the map, in log-log, on which a family leads for sure or not for sure."""
        own: npt.NDArray[np.bool_] = (self.leader == family) & (self.is_sure == is_sure)
        return float(own.mean())


def lead_map(
    families: Sequence[Family], smoothed: Sequence[SmoothLosses], limit: Axis, compute: Axis, *, level: float
) -> LeadMap | None:
    """Returns the map over the limits that every family has cells within; None where amounts are missing or too few.

    Args:
        families: at least two.
        smoothed: of each family.
        limit: an axis of size.
        compute: an axis that training spends.
        level: part of the resamples in which a sure leader leads.
    """
    sizes, computes = _amounts(families, limit), _amounts(families, compute)
    if sizes is None or computes is None:
        return None
    limits = np.log(sizes), np.log(computes)
    values = [_least(f, s, limit, compute, *limits) for f, s in zip(families, smoothed, strict=True)]
    drawn = np.stack(values)
    best = np.argmin(drawn[:, 1:], axis=0)
    share = np.stack([np.mean(best == k, axis=0) for k in range(len(families))])
    shape = (len(families), len(computes), len(sizes))
    return LeadMap(
        limit=limit,
        compute=compute,
        sizes=sizes,
        computes=computes,
        log_losses=drawn[:, 0].reshape(shape),
        share=share.reshape(shape),
        level=level,
    )


def _amounts(families: Sequence[Family], axis: Axis) -> Floats | None:
    """Returns limits from the least that lets every family run a cell to the most that any could use."""
    known = [[axis.amount(member) for member in family.members] for family in families]
    if any(amount is None for own in known for amount in own):
        return None
    low = max(min(amount for amount in own if amount is not None) for own in known)
    high = max(amount for own in known for amount in own if amount is not None)
    return np.exp(np.linspace(math.log(low), math.log(high), STEPS, dtype=np.float64)) if high > low else None


def _least(
    family: Family, smoothed: SmoothLosses, limit: Axis, compute: Axis, log_sizes: Floats, log_computes: Floats
) -> Floats:
    """Returns a family's least log losses of fit and resamples within all pairs of limits, (1 + R, C x S).

    As elsewhere, resamples keep the place of the best cell that the fit names.
    """
    spent = np.log([compute.amount(member) or math.nan for member in family.members])
    mesh = priced_mesh(smoothed, spent)
    loss, length = _within(mesh, log_computes)
    order: Floats = np.minimum.accumulate(loss, axis=0)
    row: Ints = np.maximum.accumulate(np.where(loss <= order, np.arange(len(loss))[:, None], 0), axis=0)
    last = np.clip(np.searchsorted(_limits(family, smoothed, limit, mesh), log_sizes + 1e-9) - 1, 0, None)
    best = row[last]
    column = np.arange(len(log_computes))[None, :]
    images = mesh.images[best, length[best, column]]
    return smoothed.at(mesh.size[best, 0].T.ravel(), images.T.ravel())


def _within(mesh: Mesh, log_computes: Floats) -> tuple[Floats, Ints]:
    """Returns the least log loss of each size for no more than each compute, and at which length, (sizes, C) each.

    Infinite where even the shortest run costs more.
    """
    least: Floats = np.minimum.accumulate(mesh.log_loss, axis=1)
    places = np.arange(mesh.size.shape[1], dtype=np.intp)
    at_least: Ints = np.maximum.accumulate(np.where(mesh.log_loss <= least, places, 0), axis=1)
    rising = np.maximum.accumulate(mesh.amount, axis=1)
    # How many of a size's runs cost no more.
    longest = np.sum(rising[:, None, :] <= log_computes[None, :, None] + 1e-9, axis=2) - 1
    rows = np.arange(len(least))[:, None]
    reached = np.clip(longest, 0, None)
    return np.where(longest < 0, np.inf, least[rows, reached]), at_least[rows, reached]


def _limits(family: Family, smoothed: SmoothLosses, limit: Axis, mesh: Mesh) -> Floats:
    """Returns the log of the limit that each of the mesh's sizes asks for: between two models a straight line."""
    asked = np.log([limit.amount(member) or math.nan for member in family.members])
    sizes, first = np.unique(np.round(smoothed.cell_places.size, 9), return_index=True)
    return np.maximum.accumulate(np.interp(mesh.size[:, 0], sizes, asked[first]))
