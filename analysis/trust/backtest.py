"""Rolling back-test: fit on what is cheaper than a cut, predict what is dearer, and say how wrong that was.

An extrapolation is worth what such predictions were worth; the report prints this beside every one.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.estimators.rows import Rows
from analysis.fitting import Prior
from analysis.laws import Floats, Law
from analysis.solver.linearised import covariance, score_moments
from analysis.solver.quantiles import t_quantile

_CUTS = 8
_EDGES = (1.0, 2.0, 5.0, 20.0, 100.0, np.inf)
_SPARE_ROWS = 2
"""Rows that a fit below a cut must have beyond one for each parameter."""
_ENOUGH, _HELD = 10, 0.75
"""Predictions that say something of coverage, and the coverage below which intervals are widened; later runs of one
study are predicted wrongly together, so somewhat less than the level is no proof."""
_LEAST_SPAN = 2.0
"""Factor of compute that a fit below a cut must span: a shorter one is no law."""

RowsOf = Callable[[Sequence[Cell]], tuple[Rows, Rows]]
"""Cells -> (rows that a law of them is fitted to, rows that it is asked to predict)."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One run that was predicted from cheaper ones."""

    log_compute: float
    factor: float
    """Its compute over the dearest that was fitted."""
    log_loss: float
    log_predicted: float
    half_width: float
    """Of the prediction interval, in log loss."""

    @property
    def error(self) -> float:
        """Log of predicted over measured loss: above zero when the prediction was too high."""
        return self.log_predicted - self.log_loss


@dataclass(frozen=True, kw_only=True)
class FactorBin:
    """Predictions at like extrapolation factors."""

    low: float
    high: float
    predictions: int
    rms_error: float
    """Root mean square of log predicted over measured, about a relative error."""
    mean_error: float
    coverage: float
    """Share of measured losses within the prediction interval."""


@dataclass(frozen=True, kw_only=True)
class BackTest:
    """What predictions from below each cut were worth."""

    cuts: tuple[float, ...]
    """Dearest compute fitted, for each fit."""
    predictions: tuple[Prediction, ...]
    bins: tuple[FactorBin, ...]

    @property
    def rms_error(self) -> float:
        """Root mean square log error of all predictions."""
        return float(np.sqrt(np.mean([p.error**2 for p in self.predictions])))

    def bin_at(self, factor: float) -> FactorBin | None:
        """Returns the bin of an extrapolation factor, or the farthest below it; None where nothing was predicted."""
        below = [b for b in self.bins if b.low <= factor]
        return max(below, key=lambda b: b.low, default=None)


def backtest(
    law: Law, cells: Sequence[Cell], axis: str, rows_of: RowsOf, *, delta: float | None, priors: tuple[Prior, ...],
    level: float,
) -> BackTest | None:  # fmt: skip
    """Returns the back-test of a law; None when no cut leaves enough on both sides."""
    computes = np.array([cell.compute(axis) or np.nan for cell in cells])
    _, asked = rows_of(cells)
    found: list[Prediction] = []
    cuts: list[float] = []
    for cut in _cuts(computes):
        below = [cell for cell, compute in zip(cells, computes, strict=True) if compute <= cut]
        later = asked.log_compute > np.log(cut) + 1e-9
        if len(below) < 3 or not later.any():
            continue
        rows, measured = rows_of(below)
        spanned = float(np.exp(np.ptp(rows.log_compute))) if rows.count else 0.0
        if rows.count < len(law.parameters) + _SPARE_ROWS or spanned < _LEAST_SPAN:
            continue
        predictions = _predict(
            law, rows, measured, asked.only(later), float(cut), delta=delta, priors=priors, level=level
        )
        if predictions:
            cuts.append(float(cut))
            found += predictions
    return BackTest(cuts=tuple(cuts), predictions=tuple(found), bins=_bins(found)) if found else None


def _cuts(computes: Floats) -> Floats:
    """Returns at most _CUTS computes to cut above: distinct ones, evenly spread over the dearer two thirds."""
    distinct = np.unique(computes)
    inner = distinct[len(distinct) // 3 : -1]
    if len(inner) <= _CUTS:
        return inner
    return inner[np.unique(np.linspace(0, len(inner) - 1, _CUTS).astype(np.intp))]


def _predict(
    law: Law, rows: Rows, measured: Rows, later: Rows, cut: float, *, delta: float | None, priors: tuple[Prior, ...],
    level: float,
) -> list[Prediction]:  # fmt: skip
    """Returns predictions of `later`; the scatter is that of the `measured` runs, not of an envelope's samples."""
    fitted = rows.fit(law, delta=delta, priors=priors)
    if not fitted.converged[0]:
        return []
    design = rows.design(law, delta=delta, priors=priors)
    free = len(law.parameters) - int(design.pinned.sum())
    theta = design.inward({name: values[:1] for name, values in fitted.parameters.items()})
    spread = covariance(design, theta[0], rows.log_loss, rows.weights)
    own = replace(design, log_values={name: measured.log_values[name] for name in law.variables})
    residual = own.residuals(theta, measured.log_loss)[0]
    freedom = max(1, measured.count - free)
    noise = score_moments(residual, measured.weights, None, parameters=free)[0]
    spread = spread * rows.count / measured.count
    elsewhere = replace(design, log_values={name: later.log_values[name] for name in law.variables})
    slopes = elsewhere.slopes(theta)[0]
    sd = np.sqrt(np.maximum(np.einsum("pn,pq,qn->n", slopes, spread, slopes), 0.0) + noise)
    predicted = elsewhere.residuals(theta, np.zeros(1))[0]
    half = t_quantile((1 + level) / 2, freedom) * sd
    return [
        Prediction(
            log_compute=float(c), factor=float(np.exp(c) / cut), log_loss=float(y), log_predicted=float(p),
            half_width=float(h),
        )
        for c, y, p, h in zip(later.log_compute, later.log_loss, predicted, half, strict=True)
        if np.isfinite(p)
    ]  # fmt: skip


def _bins(predictions: Sequence[Prediction]) -> tuple[FactorBin, ...]:
    bins: list[FactorBin] = []
    for low, high in itertools.pairwise(_EDGES):
        inside = [p for p in predictions if low <= p.factor < high]
        if inside:
            errors = np.array([p.error for p in inside])
            bins.append(
                FactorBin(
                    low=low,
                    high=high,
                    predictions=len(inside),
                    rms_error=float(np.sqrt((errors**2).mean())),
                    mean_error=float(errors.mean()),
                    coverage=float(np.mean([abs(p.error) <= p.half_width for p in inside])),
                )
            )
    return tuple(bins)


def widening(backtest: BackTest | None, factor: float, level: float) -> float:
    """Returns by how much prediction intervals at an extrapolation factor are to be widened, to have held before.

    1 where they held well enough, where too little was predicted to say, and inside the sampled range.
    """
    if backtest is None or factor <= 1.0:
        return 1.0
    b = backtest.bin_at(factor)
    if b is None or b.predictions < _ENOUGH or b.coverage >= _HELD:
        return 1.0
    missed = [
        abs(p.error) / p.half_width for p in backtest.predictions if b.low <= p.factor < b.high and p.half_width > 0
    ]
    return max(1.0, float(np.quantile(missed, level))) if missed else 1.0
