"""Approach 2 for the loss: L*(C) = E + a C^-b through the least losses of the budgets."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.estimators.isoflop import IsoFlopFit
from analysis.fitting import fit_law, fit_many
from analysis.laws import POWER, POWER_FLOOR, Floats, Law
from analysis.solver.quantiles import LEVEL, interval, t_quantile

_FLOOR_FROM = 5
"""Budgets that a floor needs: one more than its three parameters, and one to contradict it."""


@dataclass(frozen=True, kw_only=True)
class IsoFlopLoss:
    """The law through the minima of the budgets, with draws."""

    law: Law
    values: dict[str, float]
    draws: dict[str, Floats]
    level: float

    def best_loss(self, flops: float) -> tuple[float, tuple[float, float] | None]:
        """Returns the least loss at a budget, and its interval."""
        at = {"compute": math.log(flops)}
        bounds = interval(self.law.log_loss(self.draws, at), level=self.level) if self.draws else None
        middle = float(np.exp(self.law.log_loss(self.values, at)))
        return middle, None if bounds is None else (math.exp(bounds[0]), math.exp(bounds[1]))


def fit_isoflop_loss(
    fit: IsoFlopFit, *, resamples: int, rng: np.random.Generator, level: float = LEVEL
) -> IsoFlopLoss | None:
    """Returns the law by least squares on log loss; None with fewer than four budgets or without convergence.

    A few minima know their own scatter badly: normal errors are drawn with it, stretched by Student's t over the normal
    quantile at the degrees of freedom that are left.
    """
    seen = [(budget.log_flops, budget.log_loss) for budget in fit.used if budget.log_loss is not None]
    law = POWER_FLOOR if len(seen) >= _FLOOR_FROM else POWER
    freedom = len(seen) - len(law.parameters)
    if freedom < 2:
        return None
    x, y = np.array(seen, dtype=np.float64).T
    best = fit_law(law, {"compute": x}, y, delta=None)
    if not best.converged[0]:
        return None
    values = {name: float(value[0]) for name, value in best.parameters.items()}
    middle = law.log_loss(values, {"compute": x})
    sd = math.sqrt(float(((y - middle) ** 2).sum()) / freedom)
    stretch = t_quantile((1 + level) / 2, freedom) / t_quantile((1 + level) / 2, 10_000)
    drawn = middle + sd * stretch * rng.standard_normal((resamples, len(x)))
    fitted = fit_many(law, {"compute": x}, drawn, np.ones((1, len(x))), start=best, delta=None)
    valid = fitted.converged & np.isfinite(fitted.objective)
    draws = {name: value[valid] for name, value in fitted.parameters.items()} if valid.any() else {}
    return IsoFlopLoss(law=law, values=values, draws=draws, level=level)
