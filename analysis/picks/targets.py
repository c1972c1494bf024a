"""The inverse question: how much compute reaches a loss."""

import math

import numpy as np

from analysis.estimators.allocation import Price, Surface
from analysis.laws import Floats, Law
from analysis.picks.frontier_picks import extrapolation_factor
from analysis.refusal import Refusal
from analysis.result import Fit, Target

_FARTHEST_LOG = math.log(1e12)
"""Compute is searched up to this factor beyond the runs; a law that needs more never reaches the loss."""
_STEPS = 60


def target(fit: Fit, loss: float, price: Price | None) -> Target:
    """Returns the compute at which the best loss is `loss`, with its interval."""
    if not fit.law.fits_frontier and (price is None or not price.is_one):
        refused = Refusal(
            code="no_common_price",
            reason="runs of equal size and data cost different amounts here, so that a loss has no one least compute",
            next="look at the losses of the picks (--budgets), or give the FLOPs of the runs",
        )
        return Target(
            loss=loss, compute=None, low=None, high=None, never=None, extrapolation_factor=None, refused=refused
        )  # fmt: skip
    log_compute = float(_solve(fit, fit.law, fit.values, loss, price)[0])
    drawn = _solve(fit, fit.law, fit.draws, loss, price) if fit.draws else np.zeros(0)
    if not math.isfinite(log_compute):
        return Target(
            loss=loss, compute=None, low=None, high=None, never=_never(drawn), extrapolation_factor=None,
            refused=_refusal(fit, loss),
        )  # fmt: skip
    compute = math.exp(log_compute)
    known = np.where(np.isnan(drawn), np.inf, drawn)
    low, high = (
        (_quantile(known, (1 - fit.level) / 2), _quantile(known, (1 + fit.level) / 2)) if len(known) else (None, None)
    )
    return Target(
        loss=loss,
        compute=compute,
        low=low,
        high=high,
        never=_never(drawn),
        extrapolation_factor=extrapolation_factor(compute, fit.sampled),
        refused=None,
    )


def _never(drawn: Floats) -> float | None:
    return float((~np.isfinite(drawn)).mean()) if len(drawn) else None


def _quantile(logs: Floats, share: float) -> float | None:
    """Returns a quantile of compute; None where it is infinite."""
    value = float(np.sort(logs)[min(len(logs) - 1, int(share * len(logs)))])
    return math.exp(value) if value < 700 else None


def _refusal(fit: Fit, loss: float) -> Refusal:
    floor = fit.values.get("E")
    reason = f"a loss of {loss:.4g} is not reached by {fit.law.formula} at any compute"
    if floor is not None and floor >= loss:
        reason += f": its floor is E = {floor:.4g}"
    return Refusal(
        code="never_reached", reason=reason, next="ask for a higher loss, or look at the interval of the floor"
    )


def _solve(
    fit: Fit, law: Law, values: "dict[str, float] | dict[str, Floats]", loss: float, price: Price | None
) -> Floats:
    """Returns the log compute of each draw; infinite where it is never reached."""
    if not law.fits_frontier:
        assert price is not None, "asked before"
        return np.atleast_1d(Surface.of(law, values).log_product_for(loss)) + price.log_k
    columns = {name: np.atleast_1d(np.asarray(value, dtype=np.float64))[:, None] for name, value in values.items()}
    count = len(next(iter(columns.values())))
    low = np.full(count, math.log(fit.sampled[0]) - _FARTHEST_LOG)
    high = np.full(count, math.log(fit.sampled[1]) + _FARTHEST_LOG)
    wanted = math.log(loss)
    reached = law.log_loss(columns, {"compute": high[:, None]})[:, 0] <= wanted
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        above = law.log_loss(columns, {"compute": middle[:, None]})[:, 0] > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(reached, high, np.inf)
