"""Fits a law to losses: variable projection finds the basin, damped Newton ends at machine precision.

Everything is deterministic: no result depends on a random start. Many resamples are fitted at once: losses and weights
may differ per member, the design is shared.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.laws import Floats, Law
from analysis.solver.design import Design, Pull, huber
from analysis.solver.linearised import score_moments
from analysis.solver.newton import Minima, minimise
from analysis.solver.seeds import seeds

__all__ = ["FitBatch", "Prior", "design_of", "fit_law", "fit_many", "huber"]

_STEPS_OF_A_START = 16
"""Then only the best start goes on: the others are in worse basins, or crawl along the same flat valley."""
_LEAST_LOG_SHARE = math.log(0.01)
_FLOORS_TRIED = (0.5, 0.8, 0.95)
"""Parts of the least loss."""
_ROWS_OF_A_START = 4096
"""Starts are compared on at most this many rows; only the best goes on to all of them."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of a parameter beforehand."""

    parameter: str
    value: float
    sd: float = 0.0
    """Standard deviation; 0 pins the parameter."""


@dataclass(frozen=True, kw_only=True)
class FitBatch:
    """Parameters of R members."""

    parameters: dict[str, Floats]
    """Shape (R,) each."""
    objective: Floats
    """Sum over rows of weight x Huber(log residual), priors left out, shape (R,)."""
    converged: np.ndarray
    """Shape (R,), bool."""

    def member(self, index: int) -> "FitBatch":
        """Returns a batch of one member."""
        one = slice(index, index + 1)
        return FitBatch(
            parameters={name: values[one] for name, values in self.parameters.items()},
            objective=self.objective[one],
            converged=self.converged[one],
        )


def design_of(
    law: Law, log_values: Mapping[str, Floats], *, delta: float | None, priors: tuple[Prior, ...] = ()
) -> Design:
    """Returns the solver's view of rows, with what is pinned; softer priors need a fit to be weighed against."""
    design = Design.of(law, log_values, delta=delta, as_written={prior.parameter for prior in priors})
    pinned = tuple(prior for prior in priors if prior.sd == 0)
    return replace(design, pulls=pulls_of(law, pinned, strength=math.inf))


def fit_law(
    law: Law,
    log_values: Mapping[str, Floats],
    log_loss: Floats,
    *,
    delta: float | None,
    priors: tuple[Prior, ...] = (),
    weights: Floats | None = None,
) -> FitBatch:
    """Returns the best fit of `law` to one set of rows as a batch of one member.

    Minimises the sum over rows of weight x Huber(log prediction - log_loss); the sum, because optimisers stop early on
    the mean (arXiv:2404.10102 sec. 4). Without a `delta`: least squares on log losses.

    Args:
        law: what is fitted.
        log_values: log of each variable, (n,) each.
        log_loss: (n,).
        delta: of the Huber loss; None for least squares.
        priors: what is known of parameters; a standard deviation counts against the scatter of the rows.
        weights: how much each row counts, (n,); 1 by default.
    """
    weights = np.ones_like(log_loss) if weights is None else weights
    design = design_of(law, log_values, delta=delta, priors=priors)
    ended = _best(design, log_loss, weights)
    soft = tuple(prior for prior in priors if prior.sd > 0)
    if soft:
        strength = _information_of_a_row(design, ended.theta[0], log_loss, weights)
        design = replace(design, pulls=(*design.pulls, *pulls_of(law, soft, strength=strength)))
        ended = _best(design, log_loss, weights)
    return _outward(design, ended, log_loss[None], weights[None])


def fit_many(
    law: Law,
    log_values: Mapping[str, Floats],
    log_loss: Floats,
    weights: Floats,
    *,
    start: FitBatch,
    delta: float | None,
    priors: tuple[Prior, ...] = (),
) -> FitBatch:
    """Returns the fits of R resamples, each started at `start` (one member).

    Args:
        law: what is fitted.
        log_values: log of each variable over the n shared rows.
        log_loss: log losses, shape (R, n), or (1, n) where all resamples share them.
        weights: how often a row counts in a resample, shape (R, n) or (1, n); 0 leaves it out.
        start: the fit of the unresampled rows.
        delta: as in fit_law.
        priors: as in fit_law; a resample draws the middle of none of them anew.
    """
    members = 0 if not len(log_loss) or not len(weights) else max(len(log_loss), len(weights))
    if not members:
        nothing = np.zeros(0)
        return FitBatch(
            parameters=dict.fromkeys(law.parameters, nothing), objective=nothing, converged=np.zeros(0, dtype=bool)
        )
    design = design_of(law, log_values, delta=delta, priors=priors)
    if law.name == "power" and delta is None and not priors:
        return _straight_lines(design, log_loss, weights)
    first = design.inward({name: values[:1] for name, values in start.parameters.items()})
    is_loss = np.isfinite(log_loss)
    y = log_loss if is_loss.all() else np.where((weights > 0) & is_loss, log_loss, 0.0)
    # From a term that has vanished no step leads back to where it counts.
    least = float(np.median(log_loss[is_loss])) + _LEAST_LOG_SHARE
    first[:, : len(law.terms)] = np.maximum(first[:, : len(law.terms)], least)
    soft = tuple(prior for prior in priors if prior.sd > 0)
    if soft:
        strength = _information_of_a_row(design, first[0], y[0], weights[0])
        design = replace(design, pulls=(*design.pulls, *pulls_of(law, soft, strength=strength)))
    ended = minimise(design, np.repeat(first, members, axis=0), y, weights)
    if "E" in law.coefficients and not ended.converged.all() and not any(p.parameter == "E" for p in priors):
        ended = _again(design, ended, y, weights, start, law)
    return _outward(design, ended, y, weights)


def _again(design: Design, ended: Minima, y: Floats, weights: Floats, start: FitBatch, law: Law) -> Minima:
    """Returns the minima with those that had not arrived tried again from starts with higher floors.

    Where the whole says that there is no floor and a resample that there is one, the way between is long and flat.
    """
    left = np.flatnonzero(~ended.converged)
    known = {name: value[:1] for name, value in start.parameters.items()}
    middle = np.exp(law.log_loss({name: float(value[0]) for name, value in known.items()}, design.log_values))
    least = float(middle.min())
    theta, cost, converged = ended.theta.copy(), ended.cost.copy(), ended.converged.copy()
    for share in _FLOORS_TRIED:
        pin = replace(design, pulls=pulls_of(law, (Prior(parameter="E", value=share * least),), strength=math.inf))
        held = minimise(pin, design.inward(known), np.log(middle)[None], np.ones((1, len(middle))))
        some_y, some_weights = (values if len(values) == 1 else values[left] for values in (y, weights))
        found = minimise(design, np.repeat(held.theta, len(left), axis=0), some_y, some_weights)
        better = (found.cost < cost[left]) | (found.converged & ~converged[left] & (found.cost <= cost[left] * 1.001))
        theta[left[better]], cost[left[better]] = found.theta[better], found.cost[better]
        converged[left[better]] = found.converged[better]
    return Minima(theta=theta, cost=cost, converged=converged)


def pulls_of(law: Law, priors: tuple[Prior, ...], *, strength: float) -> tuple[Pull, ...]:
    """Returns priors as pulls of theta; log parameters are pulled on their logs, with relative deviations.

    Args:
        law: whose parameters.
        priors: in the units people read.
        strength: what one unit of squared deviation counts, in units of the objective; infinite pins.
    """
    found: list[Pull] = []
    for prior in priors:
        index = law.parameters.index(prior.parameter)
        is_log = prior.parameter not in law.exponents
        towards = math.log(prior.value) if is_log else prior.value
        sd = prior.sd / prior.value if is_log else prior.sd
        found.append(Pull(index=index, towards=towards, strength=strength / sd**2 if sd else math.inf))
    return tuple(found)


def _best(design: Design, y: Floats, weights: Floats) -> Minima:
    starts = seeds(design, y)
    if len(y) > _ROWS_OF_A_START:
        order = np.argsort(y, kind="stable")
        some = np.sort(order[np.linspace(0, len(y) - 1, _ROWS_OF_A_START).astype(np.intp)])
        part = replace(design, log_values={name: values[some] for name, values in design.log_values.items()})
        found = minimise(part, starts, y[some][None], weights[some][None])
        starts = found.theta[[int(np.nanargmin(found.cost))]]
    found = minimise(design, starts, y[None], weights[None], most_steps=_STEPS_OF_A_START)
    best = [int(np.nanargmin(found.cost))]
    if not found.converged[best[0]]:
        found, best = minimise(design, found.theta[best], y[None], weights[None]), [0]
    return Minima(theta=found.theta[best], cost=found.cost[best], converged=found.converged[best])


def _information_of_a_row(design: Design, theta: Floats, y: Floats, weights: Floats) -> float:
    """Returns mean psi^2 / mean psi': what the negative log likelihood of a row is worth in units of the objective.

    It is the scatter's variance for least squares, and delta / (2 f(0)) where the Huber loss is nearly absolute.
    """
    residual = design.residuals(theta[None], y)[0]
    squares, bend = score_moments(residual, weights, design.delta, parameters=len(theta))
    return squares / bend


def _outward(design: Design, ended: Minima, y: Floats, weights: Floats) -> FitBatch:
    objective = ended.cost
    if any(math.isfinite(pull.strength) for pull in design.pulls):
        objective = replace(design, pulls=()).cost(ended.theta, y, weights)
    return FitBatch(parameters=design.outward(ended.theta), objective=objective, converged=ended.converged)


def _straight_lines(design: Design, log_loss: Floats, weights: Floats) -> FitBatch:
    """Returns weighted least-squares lines of log loss on log compute, in closed form."""
    x = design.log_values["compute"] - design.centres[0][0]
    total = np.maximum(weights.sum(axis=1), 1e-300)
    y = np.where(weights > 0, log_loss, 0.0)
    mean_x, mean_y = weights @ x / total, (weights * y).sum(axis=1) / total
    spread = weights @ x**2 / total - mean_x**2
    exact = spread > 1e-12
    slope = ((weights * y) @ x / total - mean_x * mean_y) / np.where(exact, spread, 1.0)
    theta = np.stack([mean_y - slope * mean_x, -slope], axis=1)
    residual = theta[:, :1] - theta[:, 1:] * x - y
    return FitBatch(
        parameters=design.outward(theta), objective=(weights * huber(residual, None)).sum(axis=1), converged=exact
    )
