"""Fits a law of compute to the best loss for each compute."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.estimators.bootstrap import correlation_squared, seed_noise
from analysis.estimators.frontier import (
    Curves,
    Envelope,
    curves_of,
    envelope,
    envelope_weights,
    log_compute,
    log_losses,
    measured_frontier,
)
from analysis.estimators.frontier_rows import FrontierRows, are_one_curve, frontier_rows
from analysis.estimators.rows import Rows, compute_rows
from analysis.fits.surface_fit import estimate, not_converged, sampled_range
from analysis.fitting import FitBatch, fit_law, fit_many, huber
from analysis.laws import POWER, POWER_FLOOR, Floats, Law
from analysis.options import HUBER_DELTA, FitOptions
from analysis.result import Fit, Rival

_RIVALS = (POWER, POWER_FLOOR)
_RIVAL_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The cells of a study seen along one compute axis."""

    cells: tuple[Cell, ...]
    measured: tuple[Cell, ...]
    curves: Curves
    lower: Envelope
    axis: str
    has_models: bool
    is_one_curve: bool
    """Whether the cells are noisy points of one curve: then all of them are fitted, not those that came out low."""

    @classmethod
    def of(cls, cells: Sequence[Cell], axis: str, *, has_models: bool, is_one_curve: bool | None = None) -> "Frontier":
        """Returns the frontier of cells that all have a compute; a part of a study inherits what the whole is."""
        curves = curves_of(cells, axis)
        measured = measured_frontier(cells, axis)
        if is_one_curve is None:
            is_one_curve = are_one_curve(cells, measured, axis, has_models=has_models)
        return cls(
            cells=tuple(cells),
            measured=measured,
            is_one_curve=is_one_curve,
            curves=curves,
            lower=envelope(curves, log_losses(cells)[None]),
            axis=axis,
            has_models=has_models,
        )

    def rows(self, resamples: int, rng: np.random.Generator) -> FrontierRows:
        """Returns what a law is fitted to, with resamples."""
        return frontier_rows(
            self.cells, self.measured, self.curves, self.lower, has_models=self.has_models, axis=self.axis,
            is_one_curve=self.is_one_curve, resamples=resamples, rng=rng,
        )  # fmt: skip

    def plain_rows(self) -> tuple[Rows, Rows]:
        """Returns the rows that a law is fitted to, and the measured frontier that it is asked to predict."""
        found = self.rows(0, np.random.default_rng(0))
        used = np.isfinite(found.log_loss)
        fitted = compute_rows(found.log_values["compute"][used], found.log_loss[used], found.base_weights[used])
        return fitted, compute_rows(found.measured["compute"], found.measured_loss, found.measured_weights)


def fit_frontier(law: Law, frontier: Frontier, rows: FrontierRows, options: FitOptions) -> Fit:
    """Returns the fit of a law of compute.

    Raises:
        FitRefused: it did not converge.
    """
    delta, axis = options.huber, frontier.axis
    used = np.isfinite(rows.log_loss)
    design = {name: x[used] for name, x in rows.log_values.items()}
    weights = rows.base_weights[used]
    best = fit_law(law, design, rows.log_loss[used], delta=delta, priors=options.priors, weights=weights)
    if not best.converged[0]:
        raise not_converged(law, int(used.sum()))
    drawn = fit_many(
        law, rows.log_values, rows.drawn_loss, rows.weights, start=best, delta=delta, priors=options.priors
    )
    draws, failed = _valid_draws(law, drawn, rows)
    values = {name: float(value[0]) for name, value in best.parameters.items()}
    residual = law.log_loss(values, rows.measured) - rows.measured_loss
    covered = frontier.lower.is_covered[0]
    x, y = frontier.curves.grid[covered], frontier.lower.log_loss[0, covered]
    is_envelope = rows.fitted_on == "interpolated envelope"
    return Fit(
        law=law,
        axis=axis,
        fitted_on=rows.fitted_on,
        parameters={
            name: estimate(value, draws.get(name), draws.get(name), options.level) for name, value in values.items()
        },
        priors=options.priors,
        draws=draws,
        case_draws={},
        shrink=1.0,
        rivals=_rivals(law, rows, used, delta, values, draws),
        n_points=len(rows.measured_loss),
        objective=float(huber(residual, options.huber or HUBER_DELTA) @ rows.measured_weights),
        huber_delta=options.huber or HUBER_DELTA,
        is_least_squares=delta is None,
        r2=correlation_squared(log_compute(frontier.measured, axis), log_losses(frontier.measured)),
        r2_envelope=correlation_squared(x, y) if is_envelope else None,
        residual_sd=_scatter(law, values, rows, used, frontier.cells),
        residuals=residual,
        converged=True,
        slopes=_half_slopes(x, y) if is_envelope else None,
        sampled=sampled_range(np.exp(log_compute(frontier.cells, axis))),
        level=options.level,
        interval_method=rows.method,
        stderr_method=rows.method,
        resamples=len(rows.weights),
        failed_resamples=failed,
        in_flops=_in_flops(frontier.cells) if law.name == "power" and axis == "core_hours" else None,
    )


def _valid_draws(law: Law, drawn: FitBatch, rows: FrontierRows) -> tuple[dict[str, Floats], int]:
    """Returns the parameters of the resamples that carry the law, and how many do not."""
    distinct = (rows.weights > 0).sum(axis=1)
    valid = drawn.converged & np.isfinite(drawn.objective) & (distinct > len(law.parameters))
    if not valid.any():
        return {}, len(valid)
    return {name: value[valid] for name, value in drawn.parameters.items()}, int((~valid).sum())


def _rivals(
    law: Law, rows: FrontierRows, used: np.ndarray, delta: float | None, values: dict[str, float],
    draws: dict[str, Floats],
) -> tuple[Rival, ...]:  # fmt: skip
    """Returns the forms that the rows may follow as well, with some of the same resamples."""
    found = [Rival(law=law, values=values, draws=draws)]
    some = slice(0, _RIVAL_RESAMPLES)
    for other in _RIVALS:
        if other.name == law.name or len(rows.measured_loss) < len(other.parameters) + 2:
            continue
        design = {name: x[used] for name, x in rows.log_values.items()}
        best = fit_law(other, design, rows.log_loss[used], delta=delta, weights=rows.base_weights[used])
        if not best.converged[0]:
            continue
        drawn = fit_many(other, rows.log_values, rows.drawn_loss[some], rows.weights[some], start=best, delta=delta)
        valid = drawn.converged & np.isfinite(drawn.objective)
        found.append(
            Rival(
                law=other,
                values={name: float(value[0]) for name, value in best.parameters.items()},
                draws={name: value[valid] for name, value in drawn.parameters.items()} if valid.any() else {},
            )
        )
    return tuple(found)


def _scatter(law: Law, values: dict[str, float], rows: FrontierRows, used: np.ndarray, cells: Sequence[Cell]) -> float:
    """Returns how far one run of a good configuration lies from the law, as a standard deviation of log loss.

    The scatter of what was fitted, with the degrees of freedom of the measured rows behind it, but never less than the
    noise between seeds.
    """
    design = {name: x[used] for name, x in rows.log_values.items()}
    residual = law.log_loss(values, design) - rows.log_loss[used]
    count = len(rows.measured_loss)
    freedom = max(1, count - len(law.parameters))
    about_law = math.sqrt(float(np.average(residual**2, weights=rows.base_weights[used])) * count / freedom)
    return max(about_law, seed_noise(cells).relative_sd or 0.0)


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
    weights = envelope_weights(cells, curves, lower)[covered]
    fit = fit_law(POWER, {"compute": curves.grid[covered]}, lower.log_loss[0, covered], delta=None, weights=weights)
    return float(fit.parameters["a"][0]), float(fit.parameters["b"][0])
