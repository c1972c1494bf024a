"""Which configuration to train for a budget, and what loss to expect of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.best_rate import UNITS, Cell
from analysis.estimators.frontier import Curves, Envelope, log_losses
from analysis.laws import Floats
from analysis.refusal import Refusal
from analysis.result import Fit, Neighbour, Pick
from analysis.solver.quantiles import interval
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
    batch_images: int | None


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
        batch_images=min(own, key=lambda c: abs(math.log(c.compute(axis) or 1.0) - stop)).best.batch_images,
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
    log_budget = math.log(budget)
    law_low, law_high = law_interval(fit, log_budget, with_scatter=False)
    low, high = law_interval(fit, log_budget, with_scatter=True)
    if low is not None and high is not None and law_low is not None and law_high is not None:
        low, high = min(low, law_low), max(high, law_high)
    return Pick(
        budget=budget,
        core_hours=budget if fit.axis == "core_hours" else choice.core_hours if choice else None,
        flops=budget if fit.axis == "flops" else choice.flops if choice else None,
        model=choice.model if choice else None,
        params=choice.params if choice else None,
        epochs=choice.epochs if choice else None,
        tokens=choice.tokens if choice else None,
        peak_lr=choice.peak_lr if choice else None,
        batch_images=choice.batch_images if choice else None,
        predicted_loss=finite_exp(fit.law.log_loss(fit.values, {"compute": log_budget})),
        low=low,
        high=high,
        widened_by=1.0,
        law_low=law_low,
        law_high=law_high,
        continuous=None,
        params_interval=None,
        tokens_interval=None,
        params_as_good=None,
        extrapolation_factor=factor,
        support=_support(curves, resampled, choice.model, budget) if choice else None,
        is_at_epoch_cap=bool(choice and choice.is_at_epoch_cap),
        neighbours=_neighbours(cells, curves, choice, log_budget) if choice else (),
        best_measured=best_measured(cells, fit.axis, budget),
        refused=refused,
    )


def finite_exp(log_value: Floats | float) -> float | None:
    """Returns e to a power, or None where that is no number."""
    with np.errstate(over="ignore"):
        value = float(np.exp(log_value))
    return value if math.isfinite(value) else None


def _neighbours(cells: Sequence[Cell], curves: Curves, choice: Choice, log_budget: float) -> tuple[Neighbour, ...]:
    """Returns what the other models reach at the budget on their own curves; those not run there are left out."""
    losses = log_losses(cells)
    found: list[Neighbour] = []
    for model, members in enumerate(curves.members):
        x = curves.log_compute[members]
        own: list[Cell] = [cells[i] for i in members]
        stop = min(log_budget, float(x[-1]))
        if curves.models[model] == choice.model or x[0] > log_budget or log_budget - float(x[-1]) > math.log(_FARTHEST):
            continue
        log_loss = float(np.interp(stop, x, losses[members]))
        found.append(
            Neighbour(
                model=curves.models[model],
                epochs=_along(x, [cell.epochs for cell in own], stop),
                predicted_loss=math.exp(log_loss),
                excess=math.expm1(log_loss - choice.log_loss),
            )
        )
    return tuple(sorted(found, key=lambda neighbour: neighbour.excess))


def best_measured(cells: Sequence[Cell], axis: str, budget: float) -> Cell | None:
    """Returns the cell with the least loss among those within the budget."""
    within = [cell for cell in cells if (cell.compute(axis) or math.inf) <= READING_TOLERANCE * budget]
    return min(within, key=lambda cell: cell.loss, default=None)


def law_interval(fit: Fit, log_compute: float, *, with_scatter: bool) -> tuple[float | None, float | None]:
    """Returns the interval of a law of compute: of its mean, or with the scatter of one run about it.

    It spans every form that the rows may follow: a line and a curve that flattens part beyond the runs and at their
    ends, and no resample of the one knows of the other. Among the runs the scatter covers their difference.
    """
    inside = fit.sampled[0] <= math.exp(log_compute) * READING_TOLERANCE and (
        math.exp(log_compute) <= fit.sampled[1] * READING_TOLERANCE
    )
    has_one = inside and with_scatter
    forms = [(fit.law, fit.draws)] if has_one else [(rival.law, rival.draws) for rival in fit.rivals]
    bounds = [
        found
        for law, draws in forms
        if draws and (found := _bounds(fit, law.log_loss(draws, {"compute": log_compute}), with_scatter=with_scatter))
    ]
    if not bounds:
        return None, None
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _bounds(fit: Fit, log_loss: Floats, *, with_scatter: bool) -> tuple[float, float] | None:
    return interval(np.exp(np.minimum(scattered(fit, log_loss) if with_scatter else log_loss, 700.0)), level=fit.level)


def scattered(fit: Fit, log_loss: Floats) -> Floats:
    """Returns draws of one run's log loss from draws of its mean."""
    return log_loss + np.random.default_rng(1).normal(0.0, fit.residual_sd, size=log_loss.shape)


def _support(curves: Curves, resampled: Envelope | None, model: str, budget: float) -> float | None:
    if resampled is None:
        return None
    column = int(np.argmin(np.abs(curves.grid - math.log(budget))))
    winners = resampled.winner[:, column]
    present = winners >= 0
    return float((winners[present] == curves.models.index(model)).mean()) if present.any() else None


def budget_text(budget: float, axis: str) -> str:
    """Returns a budget as people write it on its axis."""
    return format_core_hours(budget) if axis == "core_hours" else f"{budget:.3g} {UNITS[axis]}"


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
