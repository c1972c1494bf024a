"""Forms compete: by what they predict and by AICc, never by r2, which every further parameter raises."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.fitting import FitBatch, Prior
from analysis.laws import BROKEN, OVER_TRAINING, POWER, POWER_FLOOR, REPEATED, SATURATING, SURFACE, Law
from analysis.trust.backtest import BackTest, RowsOf, backtest

_NO_FLOOR = 1e-9
"""A floor pinned at this part of the least loss is none."""


@dataclass(frozen=True, kw_only=True)
class FormScore:
    """How a form does on the same rows."""

    name: str
    formula: str
    free_parameters: int
    aicc: float | None
    """Corrected Akaike criterion, less that of the best form; missing where there are too few rows for it."""
    weight: float | None
    """Akaike weight: the form's share of what the data say, among these."""
    held_out_rms: float | None
    """Root mean square log error of the rolling back-test."""
    held_out_predictions: int
    converged: bool
    law: Law
    batch: FitBatch
    is_fitted: bool
    """Whether this is the form that the report is about."""


def score_forms(
    fitted: Law, cells: Sequence[Cell], axis: str, rows_of: RowsOf, *, delta: float | None,
    priors: tuple[Prior, ...], level: float, has_repeats: bool,
) -> tuple[FormScore, ...]:  # fmt: skip
    """Returns the competing forms, the best predictor first."""
    candidates = _candidates(fitted, has_repeats=has_repeats)
    rows, measured = rows_of(cells)
    least = math.exp(float(rows.log_loss.min())) if rows.count else 1.0
    scores: list[FormScore] = []
    tests: list[BackTest | None] = []
    for law, has_floor in candidates:
        held = priors if law == fitted and has_floor else ()
        held = held if has_floor else (Prior(parameter="E", value=least * _NO_FLOOR),)
        free = len(law.parameters) - sum(prior.sd == 0 for prior in held)
        if measured.count < free + 2 or rows.count < free + 2:
            continue
        batch = rows.fit(law, delta=delta, priors=held)
        tests.append(backtest(law, cells, axis, rows_of, delta=delta, priors=held, level=level))
        values = {name: float(value[0]) for name, value in batch.parameters.items()}
        residual = law.log_loss(values, rows.log_values) - rows.log_loss
        scores.append(
            FormScore(
                name=law.name if has_floor else f"{law.name}, E = 0",
                formula=law.formula if has_floor else law.formula.replace("E + ", ""),
                free_parameters=free,
                aicc=_aicc(residual, rows.weights, free, measured.count, delta),
                weight=None,
                held_out_rms=None,
                held_out_predictions=0,
                converged=bool(batch.converged[0]),
                law=law,
                batch=batch,
                is_fitted=law == fitted and has_floor,
            )
        )
    scores = _held_out(scores, tests)
    return tuple(sorted(_weighed(scores), key=lambda s: (s.held_out_rms is None, s.held_out_rms or 0.0, s.aicc or 0.0)))


def _held_out(scores: Sequence[FormScore], tests: Sequence[BackTest | None]) -> list[FormScore]:
    """Returns the scores with the errors of the predictions that all forms made.

    A fragile form does not converge below every cut, and would be judged by fewer and easier runs; one that made less
    than half of the predictions is not judged.
    """
    made = [
        {(p.factor, p.log_compute, p.log_loss): p.error for p in test.predictions} if test else {} for test in tests
    ]
    most = max((len(errors) for errors in made), default=0)
    judged = [errors for errors in made if errors and 2 * len(errors) >= most]
    common = set[tuple[float, float, float]]().union(*judged).intersection(*judged)
    found: list[FormScore] = []
    for score, errors in zip(scores, made, strict=True):
        if common and 2 * len(errors) >= most:
            rms = math.sqrt(sum(errors[key] ** 2 for key in common) / len(common))
            found.append(replace(score, held_out_rms=rms, held_out_predictions=len(common)))
        else:
            found.append(score)
    return found


def _candidates(fitted: Law, *, has_repeats: bool) -> list[tuple[Law, bool]]:
    if fitted.fits_frontier:
        return [(POWER, True), (POWER_FLOOR, True), (SATURATING, True), (BROKEN, True)]
    forms = [(SURFACE, True), (SURFACE, False), (OVER_TRAINING, True)]
    return [*forms, (REPEATED, True)] if has_repeats else forms


def _aicc(residual: np.ndarray, weights: np.ndarray, free: int, count: int, delta: float | None) -> float | None:
    """Returns AICc with the scale as a further parameter: normal errors for least squares, Laplace ones for Huber."""
    k = free + 1
    if count <= k + 1:
        return None
    if delta is None:
        deviance = count * math.log(max(float(np.average(residual**2, weights=weights)), 1e-30))
    else:
        deviance = 2 * count * math.log(max(float(np.average(np.abs(residual), weights=weights)), 1e-15))
    return deviance + 2 * k + 2 * k * (k + 1) / (count - k - 1)


def _weighed(scores: Sequence[FormScore]) -> list[FormScore]:
    known = [score.aicc for score in scores if score.aicc is not None]
    if not known:
        return list(scores)
    least = min(known)
    total = sum(math.exp(-0.5 * (aicc - least)) for aicc in known)
    return [
        score if score.aicc is None
        else replace(score, aicc=score.aicc - least, weight=math.exp(-0.5 * (score.aicc - least)) / total)
        for score in scores
    ]  # fmt: skip
