"""Two families at equal amounts: the gap between their losses, and what makes up for it.

gap(C) = log L_b(C) - log L_a(C), as strategy's question `gap@C` has it. The multiplier M(C) solves L_b(M C) = L_a(C).
Its mean is taken of log M over the log losses that both families reach: so swapping the two inverts it, and scaling all
compute of b scales it, whatever the laws are. Nothing is read outside what both families cover.
"""

import math
from collections.abc import Sequence

import numpy as np

from analysis.compare.axes import Axis, span_of
from analysis.compare.best import BestLosses
from analysis.compare.family_law import FamilyLaw
from analysis.compare.findings import Band, Duel, Meeting
from analysis.laws import Floats
from analysis.refusal import FitRefused
from analysis.result import Estimate
from analysis.solver.quantiles import interval

POINTS = 65
"""Of every curve over the span."""
_LEAST_SPAN = math.log(1.5)
"""Least overlap of two families' amounts that is compared."""
_SURE_SHARE = 0.95
"""Part of the resamples in which both families must be ahead at their own end before a crossing is claimed."""


def duel(
    a: tuple[str, BestLosses], b: tuple[str, BestLosses], axis: Axis, laws: tuple[FamilyLaw, FamilyLaw] | None, *,
    level: float,
) -> Duel:  # fmt: skip
    """Returns what `b` held against `a` gives, read off the laws or, without laws, off the best losses themselves.

    Raises:
        FitRefused: the two hardly cover the same amounts.
    """
    span = span_of((a[1], b[1]))
    if span is None or span[1] - span[0] < _LEAST_SPAN:
        raise FitRefused(
            code="no_overlap",
            reason=f"{a[0]} and {b[0]} have no range of {axis.unit} in common of at least a factor of "
            f"{math.exp(_LEAST_SPAN):g}",
            next="try: a larger BUDGET, so that both cover it, or another --axis",
        )
    x = np.linspace(*span, POINTS, dtype=np.float64)
    gap = _gap(a[1], b[1], laws, x)
    mean_gap, trend = _mean_and_trend(gap, np.broadcast_to(x, gap.shape))
    ratios = _log_multipliers(laws) if laws else None
    if ratios is None:
        meeting = _meeting(a[0], b[0], gap, x, trend, level=level)
        mean_multiplier, multiplier_trend, multiplier = None, None, None
    else:
        log_ratio, middle = ratios
        mean, rise = _mean_and_trend(log_ratio, middle)
        meeting = _meeting(a[0], b[0], log_ratio[:, ::-1], middle[0, ::-1], rise, level=level)
        mean_multiplier, multiplier_trend = _factor(mean, level), _factor(rise, level)
        multiplier = multiplier_at(laws, x, level=level) if laws else None
    return Duel(
        a=a[0],
        b=b[0],
        axis=axis,
        span=(math.exp(span[0]), math.exp(span[1])),
        mean_gap=estimate(mean_gap, level),
        gap_trend=estimate(trend, level),
        gap=_band(x, gap, level),
        mean_multiplier=mean_multiplier,
        multiplier_trend=multiplier_trend,
        multiplier=multiplier,
        meeting=meeting,
    )


def gap_at(
    a: BestLosses, b: BestLosses, laws: tuple[FamilyLaw, FamilyLaw] | None, log_amounts: Floats, *, level: float
) -> Band:
    """Returns the gap at those of some log amounts that both families cover."""
    span = span_of((a, b))
    x = log_amounts[(log_amounts >= span[0] - 0.01) & (log_amounts <= span[1] + 0.01)] if span else log_amounts[:0]
    return _band(x, _gap(a, b, laws, x), level)


def multiplier_at(laws: tuple[FamilyLaw, FamilyLaw], log_amounts: Floats, *, level: float) -> Band:
    """Returns the multiplier at those of some log amounts of a whose losses b reaches within its own cells."""
    a, b = laws
    tolerance = 0.01
    if not len(log_amounts):
        return _band(log_amounts, np.zeros((1 + len(a.best.draws), 0)), level)
    needed = b.log_compute(a.log_loss(log_amounts))
    low, high = b.span
    inside = (needed[0] >= low - tolerance) & (needed[0] <= high + tolerance)
    inside &= (log_amounts >= a.span[0] - tolerance) & (log_amounts <= a.span[1] + tolerance)
    x = log_amounts[inside]
    band = _band(x, needed[:, inside] - x, level)
    return Band(amount=band.amount, value=np.exp(band.value), low=np.exp(band.low), high=np.exp(band.high))


def _gap(a: BestLosses, b: BestLosses, laws: tuple[FamilyLaw, FamilyLaw] | None, x: Floats) -> Floats:
    """Returns log L_b - log L_a, first the measured and then every resample's, shape (1 + R, K)."""
    if laws is not None:
        return laws[1].log_loss(x) - laws[0].log_loss(x)
    one, other = (_read(best, x) for best in (a, b))
    return other - one


def _read(best: BestLosses, x: Floats) -> Floats:
    values = np.concatenate([best.log_loss[None], best.draws])
    place = np.clip((x - best.grid[0]) / (best.grid[1] - best.grid[0]), 0, len(best.grid) - 1)
    left = np.minimum(place.astype(np.intp), len(best.grid) - 2)
    share = place - left
    return values[:, left] * (1.0 - share) + values[:, left + 1] * share


def _log_multipliers(laws: tuple[FamilyLaw, FamilyLaw]) -> tuple[Floats, Floats] | None:
    """Returns log M over the log losses that both laws reach, and the log compute half way between the two.

    Both (1 + R, POINTS), from the lowest loss up; None where no loss is reached by both.
    """
    ends = [law.log_loss(np.array(law.span))[0] for law in laws]
    low, high = max(end[1] for end in ends), min(end[0] for end in ends)
    if high <= low:
        return None
    losses = np.linspace(low, high, POINTS, dtype=np.float64)
    one, other = (law.log_compute(losses) for law in laws)
    return other - one, (other + one) / 2


def _mean_and_trend(values: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Returns for each member the mean and the rise for a factor of ten in x, (1 + R,) each."""
    off = x - x.mean(axis=1, keepdims=True)
    slope = (off * values).sum(axis=1) / np.maximum((off**2).sum(axis=1), 1e-300)
    return values.mean(axis=1), slope * math.log(10)


def _meeting(a: str, b: str, values: Floats, x: Floats, trend: Floats, *, level: float) -> Meeting | None:
    """Returns where the measured values change their sign, x rising; None where they do not."""
    places = np.flatnonzero((values[0, :-1] > 0) != (values[0, 1:] > 0))
    if not len(places) or np.abs(values[0]).max() < 1e-9:
        return None
    up = bool(values[0, -1] > values[0, 0])
    rising = values if up else -values
    drawn = rising[1:]
    crosses = (drawn[:, 0] < 0) & (drawn[:, -1] > 0)
    found = [_zero(x, row) for row in drawn[crosses]]
    bounds = interval(np.array(found), level=level) if found else None
    sure = estimate(trend, level)
    is_trend_sure = sure.low is not None and sure.high is not None and (sure.low > 0 or sure.high < 0)
    share = float(crosses.mean()) if len(drawn) else 0.0
    return Meeting(
        amount=math.exp(_zero(x, rising[0])),
        low=math.exp(bounds[0]) if bounds else None,
        high=math.exp(bounds[1]) if bounds else None,
        share=share,
        ahead_below=b if up else a,
        ahead_above=a if up else b,
        is_sure=share >= _SURE_SHARE and is_trend_sure,
    )


def _zero(x: Floats, rising: Floats) -> float:
    """Returns where values first rise above zero."""
    place = int(np.argmax((rising[:-1] <= 0) & (rising[1:] > 0)))
    step = float(rising[place + 1] - rising[place])
    return float(x[place] + (x[place + 1] - x[place]) * (-float(rising[place]) / step if step else 0.0))


def estimate(values: Floats, level: float) -> Estimate:
    """Returns the first of the values with the interval of the others."""
    value, drawn = float(values[0]), values[1:]
    bounds = interval(drawn, level=level)
    low, high = bounds or (None, None)
    return Estimate(value=value, stderr=float(drawn.std(ddof=1)) if len(drawn) > 1 else None, low=low, high=high)


def _factor(values: Floats, level: float) -> Estimate:
    found = estimate(values, level)
    ends: Sequence[float | None] = [None if end is None else math.exp(end) for end in (found.low, found.high)]
    return Estimate(value=math.exp(found.value), stderr=found.stderr, low=ends[0], high=ends[1])


def _band(x: Floats, values: Floats, level: float) -> Band:
    ends = (1 - level) / 2, (1 + level) / 2
    low, high = np.quantile(values[1:], ends, axis=0) if len(values) > 1 else (values[0], values[0])
    return Band(amount=np.exp(x), value=values[0], low=np.asarray(low), high=np.asarray(high))
