"""Whether the data can tell the parameters apart at all."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.estimators.rows import Rows
from analysis.fitting import FitBatch, Prior
from analysis.laws import Law
from analysis.solver.linearised import covariance


@dataclass(frozen=True, kw_only=True)
class Identifiability:
    """What the rows span, and how entangled the parameters are."""

    condition: float
    """Ratio of the largest to the smallest eigenvalue of the parameters' correlation matrix."""
    most_correlated: tuple[str, str, float] | None
    """The two parameters that the data tell apart worst, and their correlation."""
    compute_decades: float
    params_decades: float | None
    data_decades: float | None
    data_per_param_decades: float | None
    """Spread of D/N: along one ratio N and D cannot be told apart (arXiv:2605.08541)."""


def identifiability(
    law: Law, rows: Rows, best: FitBatch, *, delta: float | None, priors: tuple[Prior, ...] = ()
) -> Identifiability:
    """Returns the design check of a fit."""
    design = rows.design(law, delta=delta, priors=priors)
    theta = design.inward({name: values[:1] for name, values in best.parameters.items()})[0]
    spread = covariance(design, theta, rows.log_loss, rows.weights)
    sd = np.sqrt(np.diag(spread))
    free = np.flatnonzero(sd > 0)
    correlation = spread[np.ix_(free, free)] / np.outer(sd[free], sd[free])
    eigenvalues = np.linalg.eigvalsh(correlation) if len(free) else np.ones(1)
    worst = None
    if len(free) > 1:
        off = np.abs(correlation - np.diag(np.diag(correlation)))
        i, j = divmod(int(np.argmax(off)), len(free))
        names = law.parameters
        worst = (names[int(free[i])], names[int(free[j])], float(correlation[i, j]))
    values = rows.log_values
    has_both = "params" in values
    return Identifiability(
        condition=float(eigenvalues[-1] / max(float(eigenvalues[0]), 1e-16)),
        most_correlated=worst,
        compute_decades=_decades(rows.log_compute),
        params_decades=_decades(values["params"]) if has_both else None,
        data_decades=_decades(values["data"]) if has_both else None,
        data_per_param_decades=_decades(values["data"] - values["params"]) if has_both else None,
    )


def _decades(logs: np.ndarray) -> float:
    return float(np.ptp(logs)) / math.log(10)
