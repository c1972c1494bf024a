"""Which configuration to train for a budget, and what loss to expect of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.best_rate import Cell
from analysis.bootstrap import interval
from analysis.frontier import Curves, Envelope, log_losses
from analysis.laws import Floats
from analysis.result import Fit, Pick, Refusal
from sweeps.budget import READING_TOLERANCE, format_core_hours

_FARTHEST = 1.5
"""A configuration is named up to this factor above the dearest cell: epochs are a factor 2 apart, so a budget can lie
that far above every cell it holds."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model trained until a budget is spent, on its own interpolated curve."""

    model: str
    compute: float
    log_loss: float
    epochs: float | None
    tokens: float | None
    peak_lr: float | None
    params: float | None
    is_at_epoch_cap: bool
    core_hours: float | None
    flops: float | None


def best_choice(cells: Sequence[Cell], curves: Curves, axis: str, budget: float) -> Choice | None:
    """Returns the best point within the budget on any model's curve; None when the cheapest cell is dearer."""
    limit = math.log(budget * READING_TOLERANCE)
    found: list[tuple[float, int, float]] = []
    losses = log_losses(cells)
    for model, members in enumerate(curves.members):
        x, y = curves.log_compute[members], losses[members]
        found += [(float(y[i]), model, float(x[i])) for i in np.flatnonzero(x <= limit)]
        if x[0] < math.log(budget) < x[-1]:
            found.append((float(np.interp(math.log(budget), x, y)), model, math.log(budget)))
    if not found:
        return None
    log_loss, model, stop = min(found)
    x = curves.log_compute[curves.members[model]]
    own: list[Cell] = [cells[i] for i in curves.members[model]]
    return Choice(
        model=curves.models[model],
        compute=math.exp(stop),
        log_loss=log_loss,
        epochs=_along(x, [c.epochs for c in own], stop),
        tokens=_along(x, [c.tokens for c in own], stop),
        peak_lr=_nearest_rate(x, own, stop),
        params=own[0].params,
        is_at_epoch_cap=len(own) > 1 and stop == float(x[-1]) and math.log(budget) > stop + 0.01,
        core_hours=_along(x, [c.core_hours for c in own], stop),
        flops=_along(x, [c.flops for c in own], stop),
    )


def _along(x: Floats, values: Sequence[float | None], stop: float) -> float | None:
    """Returns a value at `stop`, interpolated in log-log along a curve, to four digits."""
    present = [value for value in values if value is not None and value > 0]
    if len(present) < len(values):
        return None
    logs = np.log(present)
    return float(f"{math.exp(float(np.interp(stop, x, logs))):.4g}")


def _nearest_rate(x: Floats, own: Sequence[Cell], stop: float) -> float | None:
    """Returns the rate among those the model was best at, nearest to the interpolated one."""
    present = [cell.best.peak_lr for cell in own if cell.best.peak_lr is not None]
    if len(present) < len(own):
        return None
    wanted = float(np.interp(stop, x, np.log(present)))
    return min(present, key=lambda rate: abs(math.log(rate) - wanted))


def extrapolation_factor(budget: float, sampled: tuple[float, float]) -> float:
    """Returns how far a budget lies outside the sampled compute, as a factor; 1 inside."""
    return max(1.0, budget / sampled[1], sampled[0] / budget)


def frontier_pick(
    fit: Fit,
    cells: Sequence[Cell],
    curves: Curves,
    resampled: Envelope | None,
    budget: float,
    *,
    next_budget: str,
) -> Pick:
    """Returns the pick of a law of compute: the envelope's winner, and the law's loss there.

    Beyond the sampled range the law still predicts a loss, but which configuration gives it was not measured: refused.
    """
    factor = extrapolation_factor(budget, fit.sampled)
    choice = best_choice(cells, curves, fit.axis, budget)
    refused = _refusal(fit, budget, factor, has_choice=choice is not None, next_budget=next_budget)
    if refused:
        choice = None
    low, high = predicted_interval(fit, {"compute": math.log(budget)})
    return Pick(
        budget=budget,
        core_hours=budget if fit.axis == "core_hours" else choice.core_hours if choice else None,
        flops=budget if fit.axis == "flops" else choice.flops if choice else None,
        model=choice.model if choice else None,
        params=choice.params if choice else None,
        epochs=choice.epochs if choice else None,
        tokens=choice.tokens if choice else None,
        peak_lr=choice.peak_lr if choice else None,
        predicted_loss=float(np.exp(fit.law.log_loss(fit.values, {"compute": math.log(budget)}))),
        low=low,
        high=high,
        extrapolation_factor=factor,
        support=_support(curves, resampled, choice.model, budget) if choice else None,
        is_at_epoch_cap=bool(choice and choice.is_at_epoch_cap),
        best_measured=best_measured(cells, fit.axis, budget),
        refused=refused,
    )


def best_measured(cells: Sequence[Cell], axis: str, budget: float) -> Cell | None:
    """Returns the cell with the least loss among those within the budget."""
    within = [cell for cell in cells if (cell.compute(axis) or math.inf) <= READING_TOLERANCE * budget]
    return min(within, key=lambda cell: cell.loss, default=None)


def predicted_interval(fit: Fit, log_values: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Returns the interval of one run's loss: the draws of the law, each moved by a draw of the cells' scatter."""
    if not fit.draws:
        return None, None
    log_loss = fit.law.log_loss(fit.draws, log_values)
    scatter = np.random.default_rng(1).normal(0.0, fit.residual_sd, size=log_loss.shape)
    found = interval(np.exp(log_loss + scatter))
    return found or (None, None)


def _support(curves: Curves, resampled: Envelope | None, model: str, budget: float) -> float | None:
    if resampled is None:
        return None
    column = int(np.argmin(np.abs(curves.grid - math.log(budget))))
    winners = resampled.winner[:, column]
    present = winners >= 0
    return float((winners[present] == curves.models.index(model)).mean()) if present.any() else None


def budget_text(budget: float, axis: str) -> str:
    """Returns a budget as people write it on its axis."""
    return format_core_hours(budget) if axis == "core_hours" else f"{budget:.3g} FLOPs"


def _refusal(fit: Fit, budget: float, factor: float, *, has_choice: bool, next_budget: str) -> Refusal | None:
    low, high = (budget_text(value, fit.axis) for value in fit.sampled)
    asked = budget_text(budget, fit.axis)
    if not has_choice:
        return Refusal(
            code="below_sampled_range",
            reason=f"no cell costs as little as {asked}; the cheapest costs {low}",
            next=f"ask for a budget of at least {low}",
        )
    if factor > _FARTHEST:
        return Refusal(
            code="outside_sampled_range",
            reason=f"{asked} is {factor:.3g} x the dearest cell ({high}): the law extrapolates a loss, "
            "but which configuration reaches it was not measured",
            next=next_budget.format(budget=format_core_hours(budget) if fit.axis == "core_hours" else asked),
        )
    return None
