"""What is believed of a study's losses: a law with priors, the scatter about it, and what was measured.

log L of a run is the sum of a law of size and data, the price of a learning rate off its optimum, a deviation of the
cell from the law, and the run's own noise:

    log(E + A N^-alpha + B D^-beta) + kappa (log2 lr - o)^2 + cell + run

The first two terms are a non-linear mean with normal priors (strategy/prior.py), taken at its most probable parameters
and linearised there (Laplace); the deviations are a Gaussian process with one independent value a cell, as in kriging
(Rasmussen and Williams, Gaussian Processes for Machine Learning, sec. 2.7). So a cell that was run often is believed as
measured, one that was run once is drawn towards the law, and one that was never run is predicted with the law's own
uncertainty.
"""

import functools
from dataclasses import dataclass

import numpy as np

from analysis.tables.points import TAINTED_WEIGHT
from strategy.evidence import Evidence
from strategy.field import Field, Floats, Ints
from strategy.noise import NoiseFloor, noise_floor
from strategy.prior import Prior, best_rate_slopes, kappas, law_and_slopes, prior_of

MOST_CELLS = 400
"""Beliefs are about at most so many cells: their covariance is worked out in every round."""
_MOST_STEPS = 60
_DEVIATIONS = (0.0003, 0.001, 0.002, 0.004, 0.008, 0.016)
"""Standard deviations of a cell from the law that are tried [of log loss]."""
DRAWS, DRAW_SEED = 400, 0
"""Samples of a belief that answers are read from."""
_FAR_SDS = 3.0
"""A run farther from what is expected of it counts as if its noise were so much smaller a part of that distance."""
_JITTER = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """The posterior over the losses of a field."""

    field: Field
    evidence: Evidence
    theta: Floats
    """Most probable parameters, (families x LAW + cells,)."""
    covariance: Floats
    """Of theta, (p, p)."""
    deviation_sd: float
    """Scatter of cells about the law [of log loss]."""
    unknown_rate_loss: Floats
    """kappa x variance of each cell's best rate, (cells,): what a run is expected to lose, that rate being unknown."""
    noise: NoiseFloor
    """Scatter of runs about their cell."""
    run_variance: Floats
    """Of each run's noise [of log loss], larger where it is tainted or an outlier, (n,)."""
    origin: tuple[float, float]
    """Mean log parameters and log images, about which the law is written."""

    @functools.cached_property
    def mean(self) -> Floats:
        """Expected log loss of a run without its noise at every (cell, rate), (cells, rates)."""
        cells, _ = everywhere(self.field)
        gain, residual = self._of_measured
        law = self._law_everywhere[0] + self.unknown_rate_loss[cells]
        return (law + (gain @ residual)[cells]).reshape(len(self.field.cells), -1)

    @functools.cached_property
    def slopes(self) -> Floats:
        """Derivatives of `mean` by theta, (cells x rates, p), with those of the deviations that runs imply."""
        cells, _ = everywhere(self.field)
        gain, _ = self._of_measured
        return self._law_everywhere[1] - (gain @ self._law_of_runs[1])[cells]

    @functools.cached_property
    def deviations(self) -> Floats:
        """Covariance of what is not known of the cells' deviations, theta given, (cells, cells)."""
        gain, _ = self._of_measured
        return self.deviation_sd**2 * np.eye(len(self.field.cells)) - gain @ self._shared.T

    @functools.cached_property
    def loss_covariance(self) -> Floats:
        """Covariance of the log losses of all (cell, rate) without a run's noise, (cells x rates,) squared."""
        rates = self.field.rate_count
        spread = np.repeat(np.repeat(self.deviations, rates, axis=0), rates, axis=1)
        return self.slopes @ self.covariance @ self.slopes.T + spread

    @functools.cached_property
    def draws(self) -> Floats:
        """The samples that all answers are read from, (DRAWS, cells, rates): the same belief gives the same ones."""
        return self.samples(DRAWS, np.random.default_rng(DRAW_SEED))

    def samples(self, count: int, rng: np.random.Generator) -> Floats:
        """Returns draws of the log loss of every (cell, rate) without a run's noise, (count, cells, rates).

        Linear in theta but for the price of a wrong rate, whose square is kept: nobody gains by not knowing the rate.
        """
        cells, _ = everywhere(self.field)
        thetas = rng.standard_normal((count, len(self.theta))) @ _root(self.covariance).T
        own = rng.standard_normal((count, len(self.field.cells))) @ _root(self.deviations).T
        best_rate = best_rate_slopes(self.field, self.origin, len(self.theta))
        squares = kappas(self.theta, self.field) * (thetas @ best_rate.T) ** 2
        known = self.mean.ravel() - self.unknown_rate_loss[cells]
        draws = known + thetas @ self.slopes.T + (own + squares)[:, cells]
        return draws.reshape(count, len(self.field.cells), -1)

    @functools.cached_property
    def _shared(self) -> Floats:
        """Covariance of the cells' deviations with those of the runs before these are seen, (cells, n)."""
        return (np.arange(len(self.field.cells))[:, None] == self.evidence.cell[None, :]) * self.deviation_sd**2

    @functools.cached_property
    def _of_measured(self) -> tuple[Floats, Floats]:
        """How the residuals of runs move each cell's deviation, (cells, n), and these residuals, (n,)."""
        law, _ = self._law_of_runs
        scatter = _scatter(self.evidence, self.run_variance, self.deviation_sd)
        residual = self.evidence.log_loss - law - self.unknown_rate_loss[self.evidence.cell]
        return np.asarray(np.linalg.solve(scatter, self._shared.T).T, dtype=np.float64), residual

    @functools.cached_property
    def _law_everywhere(self) -> tuple[Floats, Floats]:
        return law_and_slopes(self.theta, self.field, self.origin, *everywhere(self.field))

    @functools.cached_property
    def _law_of_runs(self) -> tuple[Floats, Floats]:
        return law_and_slopes(self.theta, self.field, self.origin, self.evidence.cell, self.evidence.rate)


def believe(field: Field, evidence: Evidence) -> Belief:
    """Returns the belief that the runs of a field lead to.

    Raises:
        ValueError: there is no run.
    """
    if not len(evidence):
        raise ValueError("nothing is believed before anything was run")
    noise = noise_floor(field, evidence)
    prior = prior_of(field, evidence)
    variance = noise.sd[evidence.cell] ** 2 * np.where(evidence.is_tainted, 1.0 / TAINTED_WEIGHT, 1.0)
    first = _believe(field, evidence, prior, noise, variance, prior.mean)
    off = np.abs(evidence.log_loss - first.mean[evidence.cell, evidence.rate]) / np.sqrt(variance)
    if off.max() <= _FAR_SDS:
        return first
    far = np.maximum(1.0, off / _FAR_SDS) ** 2
    return _believe(field, evidence, prior, noise, variance * far, first.theta)


def everywhere(field: Field) -> tuple[Ints, Ints]:
    """Returns the positions of every (cell, rate), the rates of a cell together, (cells x rates,) each."""
    cells, rates = len(field.cells), field.rate_count
    return np.repeat(np.arange(cells), rates), np.tile(np.arange(rates), cells)


def _believe(
    field: Field, evidence: Evidence, prior: Prior, noise: NoiseFloor, run_variance: Floats, start: Floats
) -> Belief:
    theta, tried = start, list[float]()
    for sd in _DEVIATIONS:
        theta, _, log_evidence = _laplace(field, evidence, prior, theta, _scatter(evidence, run_variance, sd))
        tried.append(log_evidence)
    # Few runs cannot tell a small scatter from none, so its mean square over all that is likely is taken.
    chances = np.exp(np.array(tried) - max(tried))
    deviation_sd = float(np.sqrt(np.average(np.square(_DEVIATIONS), weights=chances)))
    scatter = _scatter(evidence, run_variance, deviation_sd)
    theta, covariance, _ = _laplace(field, evidence, prior, theta, scatter)
    best_rate = best_rate_slopes(field, prior.origin, len(theta))
    unknown = kappas(theta, field) * np.einsum("ij,jk,ik->i", best_rate, covariance, best_rate)
    theta, covariance, _ = _laplace(field, evidence, prior, theta, scatter, unknown[evidence.cell])
    return Belief(
        field=field,
        evidence=evidence,
        theta=theta,
        covariance=covariance,
        deviation_sd=deviation_sd,
        unknown_rate_loss=unknown,
        noise=noise,
        run_variance=run_variance,
        origin=prior.origin,
    )


def _scatter(evidence: Evidence, run_variance: Floats, deviation_sd: float) -> Floats:
    """Returns the covariance of the runs about the law, (n, n)."""
    same = evidence.cell[:, None] == evidence.cell[None, :]
    return deviation_sd**2 * same + np.diag(run_variance + _JITTER)


def _laplace(
    field: Field, evidence: Evidence, prior: Prior, start: Floats, scatter: Floats, offset: Floats | float = 0.0
) -> tuple[Floats, Floats, float]:
    """Returns the most probable parameters, their covariance and the log evidence, up to a constant.

    Levenberg-Marquardt on whitened residuals; the priors are p more residuals.

    Args:
        offset: what runs lose on top of the law, (n,).
    """
    root = np.linalg.cholesky(scatter)

    def residuals(theta: Floats) -> tuple[Floats, Floats]:
        law, slopes = law_and_slopes(theta, field, prior.origin, evidence.cell, evidence.rate)
        both = np.concatenate([(law + offset - evidence.log_loss)[:, None], slopes], axis=1)
        white = np.linalg.solve(root, both)
        values = np.concatenate([white[:, 0], prior.whitening @ (theta - prior.mean)])
        slopes = np.concatenate([white[:, 1:], prior.whitening])
        return np.asarray(values, dtype=np.float64), np.asarray(slopes, dtype=np.float64)

    theta, damping = start, 1e-3
    r, jacobian = residuals(theta)
    for _ in range(_MOST_STEPS):
        normal = jacobian.T @ jacobian
        step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), jacobian.T @ r)
        r_new, jacobian_new = residuals(theta + step)
        if not r_new @ r_new <= r @ r:  # not a number either
            damping *= 4
            if damping > 1e8:
                break
            continue
        gained = r @ r - r_new @ r_new
        theta, r, jacobian, damping = theta + step, r_new, jacobian_new, max(damping / 5, 1e-9)
        if gained < 1e-9 * (1.0 + r @ r):
            break
    normal = jacobian.T @ jacobian
    _, log_det = np.linalg.slogdet(normal)
    log_evidence = -0.5 * (r @ r) - float(np.log(np.diag(root)).sum()) - 0.5 * log_det
    return theta, np.asarray(np.linalg.inv(normal), dtype=np.float64), float(log_evidence)


def _root(covariance: Floats) -> Floats:
    """Returns a square root of a covariance that rounding may have made slightly indefinite."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))
