"""What families are compared at equal amounts of, and the best smoothed loss of a family along it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.compare.best import LEAST_FREE, BestLosses, best_of_compute
from analysis.compare.family import Family, Member
from analysis.compare.smooth import SmoothLosses
from analysis.estimators.frontier import GRID_POINTS
from analysis.laws import Floats
from analysis.refusal import FitRefused
from sweeps.errors import StudyError

_LEAST_COMMON_LOSS = 0.2
"""Part of the smaller fall in log loss that two families must have in common."""
_LEAST_SPAN = 1.9
"""Least factor between the cheapest and the dearest cell of a law."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Something of which families may be given equal amounts."""

    name: str
    unit: str
    """What it is counted in."""
    equal: str
    """`at equal ...`, in words."""
    is_spent: bool
    """Whether training spends it: then there is a law, and a factor that makes up for a gap. Otherwise it is a size."""
    amount: Callable[[Member], float | None]
    """Of a cell; None where it is not known."""


AXES = {
    axis.name: axis
    for axis in (
        Axis(
            name="core_hours", unit="core-hours", equal="core-hours of the reference hardware", is_spent=True,
            amount=lambda member: member.cell.core_hours,
        ),
        Axis(name="flops", unit="FLOPs", equal="FLOPs", is_spent=True, amount=lambda member: member.cell.flops),
        Axis(
            name="billed", unit="measured core-seconds", equal="measured core-seconds", is_spent=True,
            amount=lambda member: None if member.billed_core_hours is None else 3600.0 * member.billed_core_hours,
        ),
        Axis(
            name="params", unit="parameters", equal="parameters", is_spent=False,
            amount=lambda member: member.cell.params,
        ),
        Axis(
            name="macs", unit="MACs an image", equal="inference MACs", is_spent=False,
            amount=lambda member: member.forward_macs,
        ),
    )
}  # fmt: skip


def axis_called(name: str) -> Axis:
    """Returns an axis by its name; raises StudyError for one that does not exist."""
    if name not in AXES:
        raise StudyError(f"no axis called {name!r}; there are {', '.join(AXES)} (try: --axis core_hours)")
    return AXES[name]


def all_best_losses(families: Sequence[Family], smoothed: Sequence[SmoothLosses], axis: Axis) -> tuple[BestLosses, ...]:
    """Returns the best losses of every family, where all of them are free to choose their size, if they meet there.

    Two meet where they cover amounts in common, and reach losses in common.

    Raises:
        FitRefused: as best_losses does.
    """
    pairs = list(zip(families, smoothed, strict=True))
    found = tuple(best_losses(family, one, axis) for family, one in pairs)
    if not axis.is_spent or (all(one.is_free for one in found) and all(_meet(*two) for two in combinations(found, 2))):
        return found
    return tuple(best_losses(family, one, axis, only_free=False) for family, one in pairs)


def _meet(a: BestLosses, b: BestLosses) -> bool:
    span = span_of((a, b))
    if span is None or span[1] - span[0] < LEAST_FREE:
        return False
    falls = [float(one.log_loss[0] - one.log_loss[-1]) for one in (a, b)]
    common = min(float(a.log_loss[0]), float(b.log_loss[0])) - max(float(a.log_loss[-1]), float(b.log_loss[-1]))
    return common >= _LEAST_COMMON_LOSS * min(falls)


def best_losses(family: Family, smoothed: SmoothLosses, axis: Axis, *, only_free: bool = True) -> BestLosses:
    """Returns the best losses of a family along an axis.

    Raises:
        FitRefused: amounts are not known for all its cells, or hardly differ.
    """
    known = [axis.amount(member) for member in family.members]
    amounts = np.array([np.nan if amount is None else amount for amount in known])
    if np.isnan(amounts).any():
        raise FitRefused(
            code="unknown_amount",
            reason=f"{int(np.isnan(amounts).sum())} of the {len(amounts)} cells of {family.name} have no {axis.unit}",
            next="try: --axis core_hours",
        )
    if amounts.max() < _LEAST_SPAN * amounts.min():
        raise FitRefused(
            code="span_too_short",
            reason=f"the cells of {family.name} span a factor of {amounts.max() / amounts.min():.3g} in {axis.unit}; "
            f"a comparison needs {_LEAST_SPAN:g}",
            next="try: a larger BUDGET, or another --axis",
        )
    if not axis.is_spent:
        return _of_sizes(smoothed, np.log(amounts))
    return best_of_compute(smoothed, np.log(amounts), only_free=only_free)


def _of_sizes(smoothed: SmoothLosses, log_amounts: Floats) -> BestLosses:
    """Returns the best loss over the epochs of each size, joined by straight lines in log-log.

    It never rises: a size need not be used up.
    """
    sizes = np.unique(log_amounts)
    cells = smoothed.cells
    best = np.stack([cells[:, log_amounts == size].min(axis=1) for size in sizes], axis=1)
    best = np.minimum.accumulate(best, axis=1)
    grid = np.linspace(float(sizes[0]), float(sizes[-1]), GRID_POINTS, dtype=np.float64)
    right = np.clip(np.searchsorted(sizes, grid, side="right"), 1, len(sizes) - 1)
    share = (grid - sizes[right - 1]) / (sizes[right] - sizes[right - 1])
    read = best[:, right - 1] * (1.0 - share) + best[:, right] * share
    return BestLosses(grid=grid, log_loss=read[0], draws=read[1:], is_free=True)


def span_of(values: Sequence[BestLosses]) -> tuple[float, float] | None:
    """Returns the log amounts that all of them cover; None where they do not overlap."""
    low, high = max(float(v.grid[0]) for v in values), min(float(v.grid[-1]) for v in values)
    return (low, high) if high > low else None
