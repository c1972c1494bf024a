"""From points to a fit: cells, frontier, law with intervals, hand-overs, picks, and what to be wary of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis import notices
from analysis.best_rate import Cell, cells_of, rate_trend
from analysis.bootstrap import interval, seed_noise
from analysis.fitting import FitBatch, fit_law, fit_many, huber
from analysis.frontier import (
    Curves,
    Envelope,
    curves_of,
    envelope,
    hand_overs,
    log_compute,
    log_losses,
    measured_frontier,
)
from analysis.law_rows import LawRows, frontier_rows, has_curves, surface_rows
from analysis.laws import LAWS, POWER, SURFACE, Floats, Law
from analysis.picks import frontier_pick
from analysis.points import PointSet
from analysis.result import Crossing, Estimate, Fit, FitRefused, Pick, ScalingFit
from analysis.surface_picks import surface_pick
from sweeps.errors import StudyError

HUBER_DELTA = 1e-3
"""arXiv:2203.15556 sec. 3.3."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What was asked for."""

    law: str | None = None
    """One of LAWS; None chooses: surface for a table with params and data, power otherwise."""
    huber: float | None = None
    """Delta of the Huber objective; None is least squares for laws of the frontier, HUBER_DELTA for surfaces."""
    resamples: int = 4000
    budgets: tuple[float, ...] = ()
    """Empty: the sampled range."""
    axis: str | None = None
    """core_hours | flops; None takes core-hours where they are known."""
    seed: int = 0
    """Of the resampling."""


def fit_study(points: PointSet, options: FitOptions) -> ScalingFit:
    """Returns everything that can be read from `points`.

    Raises:
        FitRefused: there are too few usable cells for the law.
        StudyError: an option that does not exist or does not go with these points.
    """
    law = _law(points, options)
    points = with_tokens(points) if not law.fits_frontier else points
    axis = _axis(points, options, law)
    cells = tuple(cell for cell in cells_of(points) if cell.compute(axis) is not None)
    notices.refuse_too_few(points, cells, axis, law)
    frontier = measured_frontier(cells, axis)
    notices.refuse_no_fall(points, frontier, law)
    curves = curves_of(cells, axis)
    lower = envelope(curves, log_losses(cells)[None])
    rng = np.random.default_rng(options.seed)
    rows = (
        frontier_rows(
            cells,
            frontier,
            curves,
            lower,
            has_models=points.has_models,
            axis=axis,
            resamples=options.resamples,
            rng=rng,
        )
        if law.fits_frontier
        else surface_rows(cells, options.resamples, rng)
    )
    fit = _fit(law, rows, cells, frontier, lower, curves, axis=axis, options=options)
    budgets = options.budgets or _sampled_budgets(points, fit)
    is_drawn = has_curves(curves, has_models=points.has_models)
    crossings = _crossings(cells, curves, lower, rows.resampled) if is_drawn else ()
    scale = _scale(cells)
    picks = tuple(_pick(fit, cells, curves, rows.resampled, budget, points, scale) for budget in budgets)
    result = ScalingFit(
        points=points,
        cells=cells,
        frontier=frontier,
        curves=curves,
        lower=lower,
        fit=fit,
        crossings=crossings,
        picks=picks,
        noise=seed_noise(cells),
        notices=(),
        rates=rate_trend(cells),
        flops_per_core_hour=scale,
    )
    return replace(result, notices=notices.notices_of(result))


def _law(points: PointSet, options: FitOptions) -> Law:
    if options.law is not None:
        if options.law not in LAWS:
            raise StudyError(f"no law called {options.law!r}; there are {', '.join(LAWS)} (try: --law power)")
        return LAWS[options.law]
    has_surface = points.study is None and all(p.params and (p.tokens or p.epochs) for p in points.points)
    return SURFACE if has_surface and points.points else POWER


def with_tokens(points: PointSet) -> PointSet:
    """Returns points with D = C / 6N where only parameters and FLOPs are given (arXiv:2203.15556 app. F)."""
    if any(p.tokens or p.epochs or not p.params or not p.flops for p in points.points):
        return points
    derived = (replace(p, tokens=p.flops / (6 * p.params)) for p in points.points if p.flops and p.params)
    return replace(points, points=tuple(derived), has_derived_tokens=True)


def _axis(points: PointSet, options: FitOptions, law: Law) -> str:
    """Returns the compute axis, one that every point has."""
    wanted = [options.axis] if options.axis else ["core_hours", "flops"]
    for axis in wanted:
        if all(getattr(point, axis) is not None for point in points.points):
            return axis
    raise StudyError(
        f"{points.source} gives no {' and no '.join(wanted)} for every row, which a law of {law.name} needs; "
        "name a column of it (try: --columns loss=loss core_hours=core_hours, or flops=flops)"
    )


def _fit(
    law: Law,
    rows: LawRows,
    cells: Sequence[Cell],
    frontier: Sequence[Cell],
    lower: Envelope,
    curves: Curves,
    *,
    axis: str,
    options: FitOptions,
) -> Fit:
    delta = options.huber if options.huber is not None or law.fits_frontier else HUBER_DELTA
    used = np.isfinite(rows.log_loss)
    best = fit_law(law, {name: x[used] for name, x in rows.log_values.items()}, rows.log_loss[used], delta=delta)
    if not best.converged[0]:
        raise FitRefused(
            code="not_converged",
            reason=f"the fit of {law.formula} did not converge on {used.sum()} rows",
            next="try a law with fewer parameters (--law power)",
        )
    drawn = fit_many(law, rows.log_values, rows.drawn_loss, rows.weights, start=best, delta=delta)
    parameters, draws, failed = _estimates(law, best, drawn, rows)
    values = {name: estimate.value for name, estimate in parameters.items()}
    residual = law.log_loss(values, rows.measured) - rows.measured_loss
    compute = np.exp(log_compute(cells, axis))
    covered = lower.is_covered[0]
    x, y = curves.grid[covered], lower.log_loss[0, covered]
    return Fit(
        law=law,
        axis=axis,
        fitted_on=rows.fitted_on,
        parameters=parameters,
        draws=draws,
        n_points=len(rows.measured_loss),
        objective=float(huber(residual, options.huber or HUBER_DELTA).sum()),
        huber_delta=options.huber or HUBER_DELTA,
        is_least_squares=delta is None,
        r2=_r2(log_compute(frontier, axis), log_losses(frontier)),
        r2_envelope=_r2(x, y) if rows.fitted_on == "interpolated envelope" else None,
        residual_sd=_scatter(law, values, rows, used, cells),
        converged=True,
        slopes=_half_slopes(x, y) if rows.fitted_on == "interpolated envelope" else None,
        sampled=(float(f"{compute.min():.10g}"), float(f"{compute.max():.10g}")),
        interval_method=rows.method,
        resamples=len(rows.weights),
        failed_resamples=failed,
        in_flops=_in_flops(cells) if law.name == "power" and axis == "core_hours" else None,
    )


def _estimates(
    law: Law, best: FitBatch, drawn: FitBatch, rows: LawRows
) -> tuple[dict[str, Estimate], dict[str, Floats], int]:
    """Returns parameters with intervals, the draws behind them, and how many resamples gave no fit."""
    distinct = (rows.weights > 0).sum(axis=1)
    valid = drawn.converged & np.isfinite(drawn.objective) & (distinct > len(law.parameters))
    draws = {name: values[valid] for name, values in drawn.parameters.items()} if valid.any() else {}
    parameters: dict[str, Estimate] = {}
    for name in law.parameters:
        bounds = interval(draws[name]) if draws else None
        parameters[name] = Estimate(
            value=float(best.parameters[name][0]),
            stderr=float(draws[name].std(ddof=1)) if bounds else None,
            low=bounds[0] if bounds else None,
            high=bounds[1] if bounds else None,
        )
    return parameters, draws, int((~valid).sum())


def _scatter(law: Law, values: dict[str, float], rows: LawRows, used: np.ndarray, cells: Sequence[Cell]) -> float:
    """Returns how far one run of a good configuration lies from the law, as a standard deviation of log loss.

    The scatter of what was fitted, with the degrees of freedom of the measured rows behind it, but never less than the
    noise between seeds.
    """
    design = {name: x[used] for name, x in rows.log_values.items()}
    residual = law.log_loss(values, design) - rows.log_loss[used]
    count = len(rows.measured_loss)
    freedom = max(1, count - len(law.parameters))
    about_law = math.sqrt(float((residual**2).mean()) * count / freedom)
    return max(about_law, seed_noise(cells).relative_sd or 0.0)


def _r2(x: Floats, y: Floats) -> float:
    """Returns the squared correlation; NaN where nothing varies."""
    if len(x) < 2 or float(np.ptp(x)) == 0 or float(np.ptp(y)) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _half_slopes(x: Floats, y: Floats) -> tuple[float, float] | None:
    middle = len(x) // 2
    if middle < 3:
        return None
    return float(np.polyfit(x[:middle], y[:middle], 1)[0]), float(np.polyfit(x[middle:], y[middle:], 1)[0])


def _in_flops(cells: Sequence[Cell]) -> tuple[float, float] | None:
    """Returns coefficient and exponent of the power law of FLOPs on the envelope in FLOPs."""
    if any(cell.flops is None for cell in cells):
        return None
    curves = curves_of(cells, "flops")
    lower = envelope(curves, log_losses(cells)[None])
    covered = lower.is_covered[0]
    fit = fit_law(POWER, {"compute": curves.grid[covered]}, lower.log_loss[0, covered], delta=None)
    return float(fit.parameters["a"][0]), float(fit.parameters["b"][0])


def _scale(cells: Sequence[Cell]) -> float | None:
    """Returns FLOPs per core-hour where it is one number, as in a scale model."""
    ratios = [cell.flops / cell.core_hours for cell in cells if cell.flops and cell.core_hours]
    if len(ratios) < len(cells) or not ratios or max(ratios) > 1.001 * min(ratios):
        return None
    return float(np.median(ratios))


def _sampled_budgets(points: PointSet, fit: Fit) -> tuple[float, ...]:
    """Returns 1, 2 and 5 times each power of ten within the sampled range, its top, and the budget of the sweep."""
    low, high = fit.sampled
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    budgets = [digit * 10.0**k for k in decades for digit in (1, 2, 5) if low <= digit * 10.0**k <= 0.9 * high]
    asked = [b for b in points.budgets_core_hours if fit.axis == "core_hours" and 0.999 * high <= b <= 1.5 * high]
    if len(budgets) > 8:
        budgets = [b for b in budgets if round(math.log10(b), 6).is_integer()]
    return (*budgets, asked[0] if asked else high)


def _crossings(
    cells: Sequence[Cell], curves: Curves, lower: Envelope, resampled: Envelope | None
) -> tuple[Crossing, ...]:
    """Returns the hand-overs; with resamples also where, and in how many, the same two models follow each other."""
    found = hand_overs(cells, curves, lower)
    if resampled is None:
        return tuple(Crossing(hand_over=at, low=None, high=None, share=None) for at in found)
    winner, models = resampled.winner.astype(np.int32), len(curves.models)
    pairs = winner[:, :-1] * models + winner[:, 1:]
    pairs[winner[:, :-1] < 0] = -1
    crossings: list[Crossing] = []
    for at in found:
        follows = pairs == curves.models.index(at.before) * models + curves.models.index(at.after)
        has_it = follows.any(axis=1)
        places = np.exp(_between(curves, at.after)[follows[has_it].argmax(axis=1)])
        low, high = interval(places) or (None, None)
        crossings.append(Crossing(hand_over=at, low=low, high=high, share=float(has_it.mean())))
    return tuple(crossings)


def _between(curves: Curves, after: str) -> Floats:
    """Returns where, between each sample of the grid and the next, a hand-over to `after` lies [log compute].

    In the middle, but where the cheapest run of `after` begins in between, for it cannot take over before.
    """
    left, right = curves.grid[:-1], curves.grid[1:]
    begins = curves.log_compute[curves.members[curves.models.index(after)][0]]
    return np.where((left <= begins) & (begins <= right), begins, (left + right) / 2)


def _pick(
    fit: Fit,
    cells: Sequence[Cell],
    curves: Curves,
    resampled: Envelope | None,
    budget: float,
    points: PointSet,
    scale: float | None,
) -> Pick:
    if fit.law.fits_frontier:
        sweep = f"make sweep BUDGET={{budget}} STUDY={points.study}"
        remedy = sweep if points.study else "add cells that cost about {budget}"
        pick = frontier_pick(fit, cells, curves, resampled, budget, next_budget=remedy)
    else:
        pick = surface_pick(fit, cells, budget)
    if scale and fit.axis == "core_hours":
        return replace(pick, flops=budget * scale)
    return replace(pick, core_hours=budget / scale) if scale else pick
