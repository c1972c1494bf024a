"""Profile curves: how much worse the fit gets when one parameter is held and all others may follow."""

from dataclasses import dataclass

import numpy as np

from analysis.estimators.rows import Rows
from analysis.fitting import FitBatch, Prior, fit_many
from analysis.laws import Floats, Law
from analysis.solver.design import Design
from analysis.solver.linearised import covariance, draws_about, score_moments
from analysis.solver.quantiles import t_quantile

_STEPS = 10
_REACH = 3.0
"""Standard errors on each side."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Likelihood of one parameter."""

    parameter: str
    values: Floats
    rise: Floats
    """-2 log likelihood ratio at each value: objective above its least, in units of a row's information, doubled."""
    critical: float
    """Rise at which the interval ends."""
    low: float | None
    """Where the curve crosses `critical` below the estimate; missing where it does not within the values tried."""
    high: float | None


def profiles(
    law: Law, rows: Rows, best: FitBatch, *, delta: float | None, priors: tuple[Prior, ...], level: float
) -> tuple[Profile, ...]:
    """Returns the profile curve of every free parameter."""
    design = rows.design(law, delta=delta, priors=priors)
    theta = design.inward({name: values[:1] for name, values in best.parameters.items()})[0]
    spread = covariance(design, theta, rows.log_loss, rows.weights)
    residual = design.residuals(theta[None], rows.log_loss)[0]
    squares, bend = score_moments(residual, rows.weights, delta, parameters=len(theta))
    unit = squares / bend
    critical = t_quantile((1 + level) / 2, max(1, rows.count - len(theta))) ** 2
    pinned = {prior.parameter for prior in priors if prior.sd == 0}
    found: list[Profile] = []
    for name in law.parameters:
        if name in pinned or not unit > 0:
            continue
        step = _step(design, theta, spread, name, best)
        if step is None:
            continue
        curves = [_walk(law, rows, best, name, sign * step, delta=delta, priors=priors, unit=unit) for sign in (-1, 1)]
        middle = float(best.parameters[name][0])
        values = np.concatenate([curves[0][0][::-1], [middle], curves[1][0]])
        rise = np.concatenate([curves[0][1][::-1], [0.0], curves[1][1]])
        low, high = (_crossing(np.concatenate([[middle], v]), np.concatenate([[0.0], r]), critical) for v, r in curves)
        found.append(Profile(parameter=name, values=values, rise=rise, critical=critical, low=low, high=high))
    return tuple(found)


def _step(design: Design, theta: Floats, spread: Floats, name: str, best: FitBatch) -> float | None:
    """Returns how far to go each time: a relative step for coefficients and shapes, an absolute one for exponents."""
    moved = draws_about(design, theta, spread, 400, np.random.default_rng(0))[name]
    low, high = np.quantile(moved, [0.16, 0.84])
    sd = 0.5 * float(high - low)
    middle = float(best.parameters[name][0])
    if not (np.isfinite(sd) and sd > 1e-12 * max(abs(middle), 1e-12)):
        return None
    if name in design.law.exponents:
        return _REACH * sd / _STEPS
    return _REACH * min(sd / middle, 1.5) / _STEPS if middle > 0 else None


def _walk(
    law: Law, rows: Rows, best: FitBatch, name: str, step: float, *, delta: float | None, priors: tuple[Prior, ...],
    unit: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Returns values on one side of the estimate and the rise there, each fit started from the one before."""
    here, weights = best, rows.weights[None]
    values: list[float] = []
    rise: list[float] = []
    for i in range(1, _STEPS + 1):
        middle = float(best.parameters[name][0])
        value = middle + i * step if name in law.exponents else middle * float(np.exp(i * step))
        held = (*(p for p in priors if p.parameter != name), Prior(parameter=name, value=value))
        here = fit_many(law, rows.log_values, rows.log_loss[None], weights, start=here, delta=delta, priors=held)
        values.append(value)
        rise.append(2.0 * max(0.0, float(here.objective[0] - best.objective[0])) / unit)
    return np.array(values), np.array(rise)


def _crossing(values: Floats, rise: Floats, critical: float) -> float | None:
    above = np.flatnonzero(rise >= critical)
    if not len(above):
        return None
    i = int(above[0])
    # The rise is nearly a parabola: its root is nearly straight.
    left, right = np.sqrt(rise[i - 1]), np.sqrt(rise[i])
    share = (np.sqrt(critical) - left) / (right - left)
    return float(values[i - 1] + share * (values[i] - values[i - 1]))
