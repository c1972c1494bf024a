"""From points to a fit: cells, frontier, law with intervals, hand-overs, picks, and what to be wary of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis import notices
from analysis.estimators.allocation import Price, data_of, price_of
from analysis.estimators.best_rate import Cell, cells_of, rate_trend
from analysis.estimators.bootstrap import seed_noise
from analysis.estimators.downstream import fit_downstream
from analysis.estimators.frontier import Envelope
from analysis.estimators.frontier_rows import has_curves
from analysis.estimators.isoflop import fit_isoflop
from analysis.estimators.isoflop_loss import fit_isoflop_loss
from analysis.estimators.noise_floor import with_precisions
from analysis.estimators.rate_law import RateLaw, fit_rate_law
from analysis.estimators.rows import Rows, surface_rows
from analysis.estimators.usable import axis_of, law_of, usable_points
from analysis.fits.allocations import allocations
from analysis.fits.crossings import crossings
from analysis.fits.frontier_fit import Frontier, fit_frontier
from analysis.fits.surface_fit import fit_surface
from analysis.laws import POWER, REPEATED, SURFACE, Law
from analysis.options import FitOptions
from analysis.picks.frontier_picks import finite_exp, frontier_pick
from analysis.picks.surface_picks import Market, optimum_at, surface_pick
from analysis.picks.targets import target
from analysis.refusal import FitRefused
from analysis.result import Fit, Pick, ScalingFit, Trust
from analysis.tables.points import PointSet, SetAside
from analysis.trust import refusals
from analysis.trust.backtest import BackTest, RowsOf, backtest, widening
from analysis.trust.forms import score_forms
from analysis.trust.identifiability import identifiability
from analysis.trust.profile_curves import profiles
from analysis.trust.sensitivity import variants

_SURFACE_REFUSALS = ("design_too_flat", "not_converged", "too_few_cells")
_TRUST_ROWS = 20_000
"""Rows beyond which back-test, rivals and profiles are left out: they fit the law a hundred times."""


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A law with what it was fitted to."""

    fit: Fit
    rows_of: RowsOf
    resampled: Envelope | None


def fit_study(points: PointSet, options: FitOptions) -> ScalingFit:
    """Returns everything that can be read from `points`.

    Raises:
        FitRefused: there are too few usable cells for the law.
        StudyError: an option that does not exist or does not go with these points.
    """
    law = law_of(points, options)
    try:
        return _fit_study(points, law, options)
    except FitRefused as error:
        if law != SURFACE or options.law is not None or error.refusal.code not in _SURFACE_REFUSALS:
            raise
        # Nobody asked for the surface: the law of compute still answers, and it is said why there is no surface.
        result = _fit_study(points, POWER, options)
        return replace(result, notices=(notices.no_surface(error.refusal), *result.notices))


def _fit_study(points: PointSet, law: Law, options: FitOptions) -> ScalingFit:
    axis = axis_of(points, options, law)
    points = usable_points(points, law, axis)
    cells = with_precisions([cell for cell in cells_of(points) if cell.compute(axis) is not None])
    points = _count_other_rates(points, cells)
    refusals.refuse_unknown_priors(law, options.priors)
    refusals.refuse_high_floor(points, options.priors)
    refusals.refuse_too_few(points, cells, axis, law)
    frontier = Frontier.of(cells, axis, has_models=points.has_models)
    refusals.refuse_no_fall(points, frontier.measured, law)
    rates = fit_rate_law(cells, level=options.level)
    fitted = _fitted(law, frontier, options)
    price = _price(cells, axis)
    surface = fitted.fit if not law.fits_frontier else _second_surface(points, frontier, options)
    isoflop = fit_isoflop(cells, rng=np.random.default_rng(options.seed))
    is_named = points.study is not None or "group" in dict(points.columns)
    is_drawn = law.fits_frontier and is_named and has_curves(frontier.curves, has_models=points.has_models)
    trust = _trust(law, fitted, cells, axis, options, price)
    result = ScalingFit(
        points=points,
        cells=cells,
        frontier=frontier.measured,
        curves=frontier.curves,
        lower=frontier.lower,
        fit=fitted.fit,
        crossings=crossings(frontier, fitted.resampled, level=options.level) if is_drawn else (),
        picks=(),
        targets=tuple(target(fitted.fit, loss, price) for loss in options.targets),
        allocations=allocations(frontier, isoflop, surface, price, level=options.level),
        isoflop=isoflop,
        isoflop_loss=isoflop
        and fit_isoflop_loss(
            isoflop,
            resamples=min(options.resamples, 1000),
            rng=np.random.default_rng(options.seed),
            level=options.level,
        ),
        trust=trust,
        noise=seed_noise(cells),
        notices=(),
        rates=rate_trend(cells, level=options.level),
        rate_law=rates,
        downstream=fit_downstream(
            cells, resamples=min(options.resamples, 1000), rng=np.random.default_rng(options.seed), level=options.level
        ),
        flops_per_core_hour=_scale(cells),
        surface=surface,
        resampled=fitted.resampled,
    )
    budgets = options.budgets or _sampled_budgets(points, fitted.fit)
    result = replace(result, picks=tuple(pick_for(result, budget) for budget in budgets))
    return replace(result, notices=notices.notices_of(result))


def pick_for(result: ScalingFit, budget: float) -> Pick:
    """Returns the pick of a fit for one budget on its axis; nothing is fitted or drawn anew."""
    fit, points, scale = result.fit, result.points, result.flops_per_core_hour
    price = _price(result.cells, fit.axis)
    if fit.law.fits_frontier:
        sweep = f"make sweep BUDGET={{budget}} STUDY={points.study}"
        remedy = sweep if points.study else "add cells that cost about {budget}"
        pick = frontier_pick(fit, result.cells, result.curves, result.resampled, budget, next_budget=remedy)
        if result.surface is not None and price and (at := optimum_at(result.surface, price, budget)):
            both = [finite_exp(value) for value in at]
            pick = replace(pick, continuous=(both[0], both[1]) if both[0] and both[1] else None)
    else:
        assert price is not None, "a surface has priced cells"
        is_named = points.study is not None or "group" in dict(points.columns)
        market = _market(result.cells, fit.axis, price, result.rate_law, has_names=is_named)
        pick = surface_pick(fit, market, budget)
    if scale:
        other = {"flops": budget * scale} if fit.axis == "core_hours" else {"core_hours": budget / scale}
        pick = replace(pick, **other)
    return _widened(pick, result.trust.backtest, fit.level)


def _count_other_rates(points: PointSet, cells: Sequence[Cell]) -> PointSet:
    """Returns a table's points with the rows counted whose learning rate or batch was not the best of its cell."""
    others = sum(len(rate.losses) for cell in cells for rate in cell.tried if rate is not cell.best)
    if points.study is not None or not others:
        return points
    aside = SetAside(reason="not the best learning rate or batch of its cell", count=others)
    return replace(points, set_aside=(*points.set_aside, aside))


def _fitted(law: Law, frontier: Frontier, options: FitOptions) -> _Fitted:
    axis = frontier.axis
    if not law.fits_frontier:
        rows = surface_rows(frontier.cells, axis, law)
        return _Fitted(
            fit=fit_surface(law, rows, frontier.cells, axis, options),
            rows_of=_surface_rows_of(law, axis),
            resampled=None,
        )

    def rows_of(cells: Sequence[Cell]) -> tuple[Rows, Rows]:
        return Frontier.of(cells, axis, has_models=frontier.has_models, is_one_curve=frontier.is_one_curve).plain_rows()

    rows = frontier.rows(options.resamples, np.random.default_rng(options.seed))
    return _Fitted(fit=fit_frontier(law, frontier, rows, options), rows_of=rows_of, resampled=rows.resampled)


def _surface_rows_of(law: Law, axis: str) -> RowsOf:
    def rows_of(cells: Sequence[Cell]) -> tuple[Rows, Rows]:
        rows = surface_rows(cells, axis, REPEATED if any(cell.unique_tokens for cell in cells) else law)
        return rows, rows

    return rows_of


def _second_surface(points: PointSet, frontier: Frontier, options: FitOptions) -> Fit | None:
    """Returns a surface beside a law of compute, for the continuous optimum; None where the runs do not carry one."""
    cells = [cell for cell in frontier.cells if cell.params and data_of(cell)]
    try:
        refusals.refuse_flat_surface(points, cells, SURFACE)
        rows = surface_rows(cells, frontier.axis, SURFACE)
        plain = replace(options, priors=(), huber=None, resamples=min(options.resamples, 1000), resample=None)
        return fit_surface(SURFACE, rows, cells, frontier.axis, plain)
    except FitRefused:
        return None


def _price(cells: Sequence[Cell], axis: str) -> Price | None:
    priced = [cell for cell in cells if cell.compute(axis) and cell.params and data_of(cell)]
    return price_of(priced, axis) if priced else None


def _market(cells: Sequence[Cell], axis: str, price: Price, rates: RateLaw | None, *, has_names: bool) -> Market:
    priced = tuple(cell for cell in cells if cell.compute(axis) and cell.params and data_of(cell))
    return Market(
        cells=priced,
        price=price,
        has_names=has_names,
        counts_epochs=all(cell.tokens is None for cell in priced),
        rates=rates,
    )


def _widened(pick: Pick, backtest: BackTest | None, level: float) -> Pick:
    """Returns the pick with the prediction interval that would have held in the back-test."""
    by = widening(backtest, pick.extrapolation_factor, level)
    middle, low, high = pick.predicted_loss, pick.low, pick.high
    if by == 1.0 or not middle or not low or not high:
        return pick
    return replace(pick, low=middle * (low / middle) ** by, high=middle * (high / middle) ** by, widened_by=by)


def _trust(
    law: Law, fitted: _Fitted, cells: Sequence[Cell], axis: str, options: FitOptions, price: Price | None
) -> Trust:
    rows, _ = fitted.rows_of(cells)
    if not options.has_trust or rows.count > _TRUST_ROWS:
        return Trust(backtest=None, forms=(), variants=(), profiles=(), identifiability=None)
    delta = None if fitted.fit.is_least_squares else fitted.fit.huber_delta
    best = rows.fit(law, delta=delta, priors=options.priors)
    has_repeats = any(cell.unique_tokens and (data_of(cell) or 0.0) > 1.01 * cell.unique_tokens for cell in cells)
    return Trust(
        backtest=backtest(
            law, cells, axis, fitted.rows_of, delta=delta, priors=options.priors, level=options.level
        ),
        forms=score_forms(
            law, cells, axis, fitted.rows_of, delta=delta, priors=options.priors, level=options.level,
            has_repeats=has_repeats,
        ),
        variants=variants(law, cells, axis, fitted.rows_of, delta=delta, priors=options.priors, price=price),
        # An envelope's samples are no independent rows: their likelihood would be 256 rows' worth.
        profiles=() if law.fits_frontier else profiles(
            law, rows, best, delta=delta, priors=options.priors, level=options.level
        ),
        identifiability=identifiability(law, rows, best, delta=delta, priors=options.priors),
    )  # fmt: skip


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
    return (*budgets[:: math.ceil(len(budgets) / 12) if budgets else 1], asked[0] if asked else high)
