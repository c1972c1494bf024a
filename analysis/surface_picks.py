"""Picks of a surface: how a budget is best split between parameters and data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.best_rate import Cell
from analysis.picks import best_measured, budget_text, extrapolation_factor, predicted_interval
from analysis.result import Fit, Pick, Refusal

_SAME_PRICE = 0.1
"""Largest spread of log(compute / (N D)) at which compute counts as proportional to N D."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A budget spent: parameters and data, and the model's name where models have names."""

    params: float
    data: float
    model: str | None
    epochs: float | None
    peak_lr: float | None


def data_of(cell: Cell) -> float | None:
    """Returns the D of a cell: its tokens or images, else its epochs."""
    return cell.tokens if cell.tokens is not None else cell.epochs


def surface_pick(fit: Fit, cells: Sequence[Cell], budget: float) -> Pick:
    """Returns the pick of L = E + A N^-alpha + B D^-beta.

    Where compute is k N D, the optimum is in closed form (arXiv:2203.15556 eq. 4): N* = G (C/k)^(beta/(alpha+beta))
    with G = (alpha A / (beta B))^(1/(alpha+beta)). Otherwise it is the best of the named models, each trained for the
    budget.
    An optimum outside the sampled parameters or data is refused: nothing was measured on its far side.
    """
    priced = [cell for cell in cells if cell.compute(fit.axis) and cell.params and data_of(cell)]
    log_price = np.array(
        [math.log((c.compute(fit.axis) or 1.0) / ((c.params or 1.0) * (data_of(c) or 1.0))) for c in priced]
    )
    split = (
        _closed_form(fit, budget / math.exp(float(np.median(log_price))))
        if float(log_price.std()) < _SAME_PRICE
        else _best_model(fit, priced, budget)
    )
    at = {"params": math.log(split.params), "data": math.log(split.data)}
    low, high = predicted_interval(fit, at)
    counts_epochs = all(cell.tokens is None for cell in priced)
    return Pick(
        budget=budget,
        core_hours=budget if fit.axis == "core_hours" else None,
        flops=budget if fit.axis == "flops" else None,
        model=split.model,
        params=split.params,
        epochs=split.data if counts_epochs else split.epochs,
        tokens=None if counts_epochs else split.data,
        peak_lr=split.peak_lr,
        predicted_loss=float(np.exp(fit.law.log_loss(fit.values, at))),
        low=low,
        high=high,
        extrapolation_factor=extrapolation_factor(budget, fit.sampled),
        support=None,
        is_at_epoch_cap=False,
        best_measured=best_measured(cells, fit.axis, budget),
        refused=_outside(fit, priced, split, budget),
    )


def _closed_form(fit: Fit, product: float) -> Split:
    values = fit.values
    alpha, beta = values["alpha"], values["beta"]
    scale = (alpha * values["A"] / (beta * values["B"])) ** (1 / (alpha + beta))
    params = scale * product ** (beta / (alpha + beta))
    return Split(params=params, data=product / params, model=None, epochs=None, peak_lr=None)


def _best_model(fit: Fit, cells: Sequence[Cell], budget: float) -> Split:
    """Returns the model that the surface prefers when each is trained until the budget is spent."""
    options: list[Split] = []
    for name in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == name]
        per_data = float(np.median([(c.compute(fit.axis) or 1.0) / (data_of(c) or 1.0) for c in own]))
        data = budget / per_data
        near = min(own, key=lambda c: abs(math.log((data_of(c) or 1.0) / data)))
        epochs = near.epochs * data / (data_of(near) or math.nan) if near.epochs else None
        option = Split(params=own[0].params or 1.0, data=data, model=name, epochs=None, peak_lr=near.best.peak_lr)
        options.append(replace(option, epochs=None if epochs is None else float(f"{epochs:.4g}")))
    return min(
        options,
        key=lambda o: float(fit.law.log_loss(fit.values, {"params": math.log(o.params), "data": math.log(o.data)})),
    )


def _outside(fit: Fit, cells: Sequence[Cell], split: Split, budget: float) -> Refusal | None:
    asked = budget_text(budget, fit.axis)
    for name, value, sampled in (
        ("parameters", split.params, [cell.params or 1.0 for cell in cells]),
        ("data", split.data, [data_of(cell) or 1.0 for cell in cells]),
    ):
        low, high = min(sampled), max(sampled)
        if not 0.99 * low <= value <= 1.01 * high:
            return Refusal(
                code="outside_sampled_range",
                reason=f"at {asked} the optimum is {value:.3g} {name}, outside the {low:.3g} to {high:.3g} "
                "that were run",
                next=f"add runs with about {value:.3g} {name}, or ask for a budget within the sampled range",
            )
    return None
