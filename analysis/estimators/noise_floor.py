"""The noise floor: how runs that differ in their seed alone scatter, as a slow function of size and data.

It weighs the rows of surfaces, of the learning-rate law and of the downstream law. The envelope is not weighed by it: a
law of compute gives every octave the same say (frontier.py), and noise enters by the resamples.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.estimators.allocation import data_of
from analysis.estimators.best_rate import Cell
from analysis.laws import Floats

PRIOR_SD, PRIOR_FREEDOM = 0.005, 2.0
"""Before any cell was run twice: half a per cent of loss, worth two repeats."""
_SLOPE_SD = 0.25
"""Prior deviation of d log sd / d log data and / d log params: noise changes slowly, in either direction."""
_LEAST_FREEDOM = 8
"""Repeats from which on cells are weighed by their noise."""
_RESOLVED = 2.0
"""Standard errors from which on a trend of the noise is believed."""
_FURTHEST = 4.0
"""A cell never counts so many times more, or less, than the middle one."""
_STEPS = 30


def fit_log_sd(x: Floats, squares: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Returns log sd at the origin of x with its slopes, and the standard errors of these, (1 + columns,) each.

    The most probable values where each sum of squares is its variance x chi-squared with its degrees of freedom, by
    Fisher scoring, with the priors above; without groups these alone.

    Args:
        x: log parameters and log data of each group about some middle, (groups, 2).
        squares: sum of squares of log losses about the group's mean, (groups,).
        freedom: runs less one, (groups,).
    """
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    columns = design.shape[1]
    theta = np.zeros(columns)
    pooled = (squares.sum() + PRIOR_FREEDOM * PRIOR_SD**2) / (freedom.sum() + PRIOR_FREEDOM)
    theta[0] = 0.5 * np.log(pooled)
    stiff = np.full(columns, 1.0 / _SLOPE_SD**2)
    stiff[0] = 0.0
    for _ in range(_STEPS if len(x) else 0):
        variance = np.exp(2.0 * (design @ theta))
        slope = design.T @ (squares / variance - freedom) - stiff * theta
        slope[0] += PRIOR_FREEDOM * (PRIOR_SD**2 / np.exp(2.0 * theta[0]) - 1.0)
        step = np.clip(np.linalg.solve(_information(design, freedom, stiff), slope), -1.0, 1.0)
        theta = theta + step
        if np.abs(step).max() < 1e-9:
            break
    errors = np.sqrt(np.diag(np.linalg.inv(_information(design, freedom, stiff))))
    return np.asarray(theta, dtype=np.float64), np.asarray(errors, dtype=np.float64)


def _information(design: Floats, freedom: Floats, stiff: Floats) -> Floats:
    information = 2.0 * (design * freedom[:, None]).T @ design + np.diag(stiff)
    information[0, 0] += 2.0 * PRIOR_FREEDOM
    return np.asarray(information, dtype=np.float64)


def with_precisions(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Returns the cells, each with how much more than the middle one its runs tell, by the inverse of their variance.

    Unchanged where too few were repeated, sizes or data are not known, or no trend of the noise is resolved: weights by
    chance would cost more than they bring.
    """
    known = [cell for cell in cells if cell.params and data_of(cell)]
    repeated = [k for k, cell in enumerate(known) if len(cell.best.losses) > 1]
    logs = [np.log(known[k].best.losses) for k in repeated]
    freedom = np.array([len(losses) - 1.0 for losses in logs])
    if len(known) < len(cells) or freedom.sum() < _LEAST_FREEDOM:
        return tuple(cells)
    x = np.log([[cell.params or 1.0, data_of(cell) or 1.0] for cell in known])
    x = x - np.median(x, axis=0)
    squares = np.array([float(((losses - losses.mean()) ** 2).sum()) for losses in logs])
    theta, errors = fit_log_sd(x[repeated], squares, freedom)
    slopes = np.where(np.abs(theta) > _RESOLVED * errors, theta, 0.0)[1:]
    precision = np.clip(np.exp(-2.0 * (x @ slopes)), 1.0 / _FURTHEST, _FURTHEST)
    return tuple(replace(cell, precision=float(p)) for cell, p in zip(known, precision, strict=True))
