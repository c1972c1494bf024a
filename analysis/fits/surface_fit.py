"""Fits a law of size and data to every run, with intervals that cover.

Whole cells are drawn anew: that holds where large runs are noisier than small ones, which resampled residuals do not
(they cover 60 % where 90 % is meant: docs/lab-log.md). With a nearly absolute loss such resamples scatter too much,
about a centre of their own, so intervals take them about the fit, shrunk by sqrt((n - p) / n). Standard errors are
those of the resamples as they are, as published ones are (arXiv:2404.10102). benchmarks/coverage.py has the coverage.
"""

import math
from collections.abc import Sequence

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.estimators.bootstrap import correlation_squared, published_weights, residual_losses
from analysis.estimators.frontier import log_compute, log_losses, measured_frontier
from analysis.estimators.rows import Rows
from analysis.fitting import FitBatch, fit_many, huber
from analysis.laws import Floats, Law
from analysis.options import HUBER_DELTA, FitOptions
from analysis.refusal import FitRefused
from analysis.result import Estimate, Fit
from analysis.solver.linearised import covariance, draws_about, score_moments
from analysis.solver.quantiles import interval

_MOST_ELEMENTS = 4_000_000
"""Rows x resamples; beyond it fewer resamples are drawn."""
_LINEARISED_ABOVE = 5000
"""Rows beyond which errors are normal and their covariance says all."""


def fit_surface(law: Law, rows: Rows, cells: Sequence[Cell], axis: str, options: FitOptions) -> Fit:
    """Returns the fit of a law of size and data.

    Raises:
        FitRefused: it did not converge.
    """
    delta = options.huber or HUBER_DELTA
    best = rows.fit(law, delta=delta, priors=options.priors)
    if not best.converged[0]:
        raise not_converged(law, rows.count)
    values = {name: float(value[0]) for name, value in best.parameters.items()}
    residual = law.log_loss(values, rows.log_values) - rows.log_loss
    drawn, spread, failed, methods, count = _draws(law, rows, best, options, delta)
    frontier = measured_frontier(cells, axis)
    squares, _ = score_moments(residual, rows.weights, None, parameters=len(law.parameters))
    return Fit(
        law=law,
        axis=axis,
        fitted_on="every run",
        parameters={
            name: estimate(value, drawn.get(name), spread.get(name), options.level) for name, value in values.items()
        },
        priors=options.priors,
        draws=drawn,
        case_draws=spread if methods[0] == "cells" else {},
        shrink=_shrink(law, rows),
        rivals=(),
        n_points=rows.count,
        objective=float(huber(residual, delta) @ rows.weights),
        huber_delta=delta,
        is_least_squares=False,
        r2=correlation_squared(log_compute(frontier, axis), log_losses(frontier)),
        r2_envelope=None,
        residual_sd=math.sqrt(squares),
        residuals=residual,
        converged=True,
        slopes=None,
        sampled=sampled_range(np.exp(rows.log_compute)),
        level=options.level,
        interval_method=methods[0],
        stderr_method=methods[1],
        resamples=count,
        failed_resamples=failed,
        in_flops=None,
    )


def not_converged(law: Law, rows: int) -> FitRefused:
    """Returns the refusal of a fit that no step improves and that is no minimum either."""
    return FitRefused(
        code="not_converged",
        reason=f"the fit of {law.formula} did not converge on {rows} rows",
        next="try a law with fewer parameters (--law power)",
    )


def sampled_range(compute: Floats) -> tuple[float, float]:
    """Returns the cheapest and the dearest compute."""
    return float(f"{compute.min():.10g}"), float(f"{compute.max():.10g}")


def estimate(value: float, draws: Floats | None, spread: Floats | None, level: float) -> Estimate:
    """Returns a parameter with the interval of `draws` and the standard deviation of `spread`."""
    if draws is not None and len(draws) and np.ptp(draws) <= 1e-12 * abs(value):
        return Estimate(value=value)  # pinned: it has no error of its own
    bounds = interval(draws, level=level) if draws is not None else None
    finite = spread[np.abs(spread) < 1e150] if spread is not None else np.zeros(0)
    return Estimate(
        value=value,
        stderr=float(finite.std(ddof=1)) if len(finite) > 1 else None,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
    )


def _draws(
    law: Law, rows: Rows, best: FitBatch, options: FitOptions, delta: float
) -> tuple[dict[str, Floats], dict[str, Floats], int, tuple[str, str], int]:
    """Returns draws for intervals, draws for standard errors, failures, their methods, and how many were drawn."""
    if not options.resamples:
        return {}, {}, 0, ("none", "none"), 0
    rng = np.random.default_rng(options.seed)
    if rows.count > _LINEARISED_ABOVE:
        design = rows.design(law, delta=delta)
        theta = design.inward({name: value[:1] for name, value in best.parameters.items()})[0]
        spread = covariance(design, theta, rows.log_loss, rows.weights)
        drawn = draws_about(design, theta, spread, options.resamples, rng)
        return drawn, drawn, 0, ("linearised", "linearised"), options.resamples
    count = min(options.resamples, max(200, _MOST_ELEMENTS // rows.count))
    cells = int(rows.owner.max()) + 1
    weights = published_weights(cells, count)[:, rows.owner] * rows.weights
    enough = (weights > 0).sum(axis=1) > len(law.parameters)
    fitted = fit_many(
        law, rows.log_values, rows.log_loss[None], weights, start=best, delta=delta, priors=options.priors
    )
    by_case, failed = _valid(fitted, enough)
    if options.resample != "residuals":
        return _centred(law, rows, best, by_case, delta), by_case, failed, ("cells", "cells"), count
    values = {name: float(value[0]) for name, value in best.parameters.items()}
    losses = residual_losses(law.log_loss(values, rows.log_values), rows.log_loss, len(law.parameters), count, rng)
    fitted = fit_many(law, rows.log_values, losses, rows.weights[None], start=best, delta=delta, priors=options.priors)
    by_residual, failed = _valid(fitted, np.ones(count, dtype=bool))
    return by_residual, by_case, failed, ("residuals", "cells"), count


def _shrink(law: Law, rows: Rows) -> float:
    """Returns sqrt((n - p) / n) for n cells and p parameters."""
    cells = int(rows.owner.max()) + 1
    return math.sqrt(max(cells - len(law.parameters), 1) / cells)


def _centred(law: Law, rows: Rows, best: FitBatch, drawn: dict[str, Floats], delta: float) -> dict[str, Floats]:
    """Returns draws moved to have the fit as their median, and shrunk by sqrt((n - p) / n)."""
    if not drawn:
        return drawn
    design = rows.design(law, delta=delta)
    theta, centre = design.inward(drawn), design.inward({name: v[:1] for name, v in best.parameters.items()})
    return design.outward(centre + (theta - np.median(theta, axis=0)) * _shrink(law, rows))


def _valid(fitted: FitBatch, enough: np.ndarray) -> tuple[dict[str, Floats], int]:
    valid = fitted.converged & np.isfinite(fitted.objective) & enough
    if not valid.any():
        return {}, len(valid)
    return {name: values[valid] for name, values in fitted.parameters.items()}, int((~valid).sum())
