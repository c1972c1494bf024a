"""Picks of a surface: how a budget is best split between parameters and data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.allocation import Price, Surface, data_of
from analysis.estimators.best_rate import Cell
from analysis.estimators.rate_law import RateLaw
from analysis.laws import Floats
from analysis.picks.frontier_picks import best_measured, budget_text, extrapolation_factor, finite_exp, scattered
from analysis.refusal import Refusal
from analysis.result import Fit, Neighbour, Pick
from analysis.solver.quantiles import interval

_FARTHEST = 10.0
"""Intervals were checked up to ten times the dearest run (benchmarks/coverage.py); beyond, picks are refused."""
_NEAR = 3.0
"""Runs within this factor of a budget tell which sizes were tried there."""
_LEAST_NEAR = 4
"""Sizes that must have been run near a budget to tell which were tried there; else all runs are looked at."""
_TOLERANCE = 1.1
_SIZES_TRIED = 2000
_NEIGHBOURS = 6


@dataclass(frozen=True, kw_only=True)
class Market:
    """What can be bought: the priced cells, what they cost, and whether their models have names."""

    cells: tuple[Cell, ...]
    """Those with compute, parameters and data."""
    price: Price
    has_names: bool
    counts_epochs: bool
    """Whether data are epochs, for want of tokens or images."""
    rates: RateLaw | None


def surface_pick(fit: Fit, market: Market, budget: float) -> Pick:
    """Returns the pick of a surface for one budget.

    Where compute is k N D the optimum is in closed form; otherwise it is the best of the named models, each trained for
    the budget. Refused where the law has no optimum, where the optimum lies outside the sizes that were run near the
    budget, or where the budget is farther from any run than was ever checked; the numbers stay, as a guess.
    """
    surface = Surface.of(fit.law, fit.values)
    options = _models(market, fit, surface, budget)
    log_n, log_d, log_drawn_n = _optimum(fit, market, budget)
    nearest = _nearest(options, log_n)
    if log_n is None and nearest is not None and not market.price.is_one:
        # No common price: the budget is spent on the best real model.
        log_n, log_d = nearest.log_params, nearest.log_data
    refused = _refusal(fit, market, log_n, budget)
    if log_n is None or log_d is None:
        return _nothing(fit, market, budget, refused)
    bounds = _loss_bounds(fit, log_n, log_d, log_drawn_n)
    log_product = log_n + log_d
    drawn_d = None if log_drawn_n is None else log_product - log_drawn_n
    data = finite_exp(log_d)
    params = finite_exp(log_n)
    return Pick(
        budget=budget,
        core_hours=budget if fit.axis == "core_hours" else None,
        flops=budget if fit.axis == "flops" else None,
        model=nearest.model if nearest and market.has_names else None,
        params=params,
        epochs=data if market.counts_epochs else _epochs(nearest, log_d),
        tokens=None if market.counts_epochs else data,
        peak_lr=market.rates.peak_lr(params, data) if market.rates and params and data else None,
        batch_images=None,
        predicted_loss=finite_exp(surface.log_loss(np.array(log_n), np.array(log_d))),
        low=bounds[0][0],
        high=bounds[0][1],
        widened_by=1.0,
        law_low=bounds[1][0],
        law_high=bounds[1][1],
        continuous=None if params is None or data is None else (params, data),
        params_interval=_exp_interval(log_drawn_n, fit.level),
        tokens_interval=_exp_interval(drawn_d, fit.level),
        params_as_good=_as_good(fit, surface, log_n, log_product) if market.price.is_one else None,
        extrapolation_factor=extrapolation_factor(budget, fit.sampled),
        support=None,
        is_at_epoch_cap=False,
        neighbours=_neighbours(options, surface, log_n, log_d),
        best_measured=best_measured(market.cells, fit.axis, budget),
        refused=refused,
    )


def optimum_at(fit: Fit, price: Price, budget: float) -> tuple[float, float] | None:
    """Returns log N* and log D* of a surface for a budget; None without an optimum or a common price."""
    if not price.is_one:
        return None
    log_product = math.log(budget) - price.log_k
    log_n = float(Surface.of(fit.law, fit.values).log_params(log_product))
    return (log_n, log_product - log_n) if math.isfinite(log_n) else None


@dataclass(frozen=True, kw_only=True)
class _Option:
    """A real model trained until the budget is spent."""

    model: str
    log_params: float
    log_data: float
    log_loss: float
    epochs_per_datum: float | None


def _models(market: Market, fit: Fit, surface: Surface, budget: float) -> list[_Option]:
    """Returns every real size at the budget, the best first."""
    options: list[_Option] = []
    grouped: dict[str, list[Cell]] = {}
    for cell in market.cells:
        grouped.setdefault(cell.model, []).append(cell)
    for name, own in grouped.items():
        per_datum = float(np.median([(c.compute(fit.axis) or 1.0) / (data_of(c) or 1.0) for c in own]))
        log_n, log_d = math.log(own[0].params or 1.0), math.log(budget) - math.log(per_datum)
        with_epochs = [c for c in own if c.epochs and c.tokens]
        options.append(
            _Option(
                model=name,
                log_params=log_n,
                log_data=log_d,
                log_loss=float(surface.log_loss(np.array(log_n), np.array(log_d))),
                epochs_per_datum=(with_epochs[0].epochs or 0.0) / (with_epochs[0].tokens or 1.0)
                if with_epochs
                else None,
            )
        )
    return sorted(options, key=lambda option: option.log_loss)


def _optimum(fit: Fit, market: Market, budget: float) -> tuple[float | None, float | None, Floats | None]:
    """Returns log N*, log D* and draws of log N*; None where compute has no common price or the law no optimum."""
    found = optimum_at(fit, market.price, budget)
    if found is None:
        return None, None, None
    log_product = found[0] + found[1]
    drawn = Surface.of(fit.law, fit.draws).log_params(log_product) if fit.draws else None
    return found[0], found[1], drawn


def _nearest(options: Sequence[_Option], log_n: float | None) -> _Option | None:
    if log_n is None:
        return options[0] if options else None
    return min(options, key=lambda option: abs(option.log_params - log_n), default=None)


def _epochs(nearest: _Option | None, log_d: float) -> float | None:
    if nearest is None or nearest.epochs_per_datum is None:
        return None
    return float(f"{math.exp(log_d) * nearest.epochs_per_datum:.4g}")


def _loss_bounds(
    fit: Fit, log_n: float, log_d: float, drawn_n: Floats | None
) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
    """Returns the prediction interval and the law's own; each draw is taken at its own optimum."""
    if not fit.draws:
        return (None, None), (None, None)
    drawn = Surface.of(fit.law, fit.case_draws or fit.draws)
    if drawn_n is None:
        mean = drawn.log_loss(np.full(len(drawn.E), log_n), np.full(len(drawn.E), log_d))
    else:
        mean = drawn.log_best_loss(log_n + log_d)
    if fit.case_draws:
        # The loss is moved about its own value: moved parameters would not give it.
        middle = float(Surface.of(fit.law, fit.values).log_loss(np.array(log_n), np.array(log_d)))
        known = mean[np.isfinite(mean)]
        mean = middle + (known - np.median(known)) * fit.shrink if len(known) else mean
    both = [interval(np.exp(np.minimum(x, 700.0)), level=fit.level) for x in (scattered(fit, mean), mean)]
    return both[0] or (None, None), both[1] or (None, None)


def _exp_interval(drawn: Floats | None, level: float) -> tuple[float, float] | None:
    bounds = None if drawn is None else interval(drawn, level=level)
    return None if bounds is None or max(bounds) > 700 else (math.exp(bounds[0]), math.exp(bounds[1]))


def _as_good(fit: Fit, surface: Surface, log_n: float, log_product: float) -> tuple[float, float] | None:
    """Returns the sizes whose loss at the budget is within one run's scatter of the least."""
    sizes = log_n + np.linspace(-7.0, 7.0, _SIZES_TRIED)
    losses = surface.log_loss(sizes, log_product - sizes)
    good = sizes[losses <= float(surface.log_loss(np.array(log_n), np.array(log_product - log_n))) + fit.residual_sd]
    return (math.exp(good[0]), math.exp(good[-1])) if len(good) and good[-1] < 700 else None


def _neighbours(options: Sequence[_Option], surface: Surface, log_n: float, log_d: float) -> tuple[Neighbour, ...]:
    """Returns the real sizes next to the optimum, with what each leaves on the table against the best split."""
    best = float(surface.log_loss(np.array(log_n), np.array(log_d)))
    near = sorted(options, key=lambda option: abs(option.log_params - log_n))[:_NEIGHBOURS]
    found = [
        Neighbour(
            model=option.model,
            epochs=_epochs(option, option.log_data),
            predicted_loss=math.exp(min(option.log_loss, 700.0)),
            excess=math.expm1(min(option.log_loss - best, 700.0)),
        )
        for option in near
        if math.isfinite(option.log_loss)
    ]
    return tuple(sorted(found, key=lambda neighbour: neighbour.excess))


def _nothing(fit: Fit, market: Market, budget: float, refused: Refusal | None) -> Pick:
    return Pick(
        budget=budget,
        core_hours=budget if fit.axis == "core_hours" else None,
        flops=budget if fit.axis == "flops" else None,
        model=None, params=None, epochs=None, tokens=None, peak_lr=None, batch_images=None, predicted_loss=None,
        low=None, high=None, widened_by=1.0, law_low=None, law_high=None, continuous=None, params_interval=None,
        tokens_interval=None, params_as_good=None, support=None, is_at_epoch_cap=False, neighbours=(),
        extrapolation_factor=extrapolation_factor(budget, fit.sampled),
        best_measured=best_measured(market.cells, fit.axis, budget),
        refused=refused,
    )  # fmt: skip


def _refusal(fit: Fit, market: Market, log_n: float | None, budget: float) -> Refusal | None:
    asked = budget_text(budget, fit.axis)
    low, high = fit.sampled
    if log_n is None:
        return Refusal(
            code="no_optimum",
            reason=f"the fitted exponents give no best size at {asked}: loss does not fall with both size and data",
            next="look at the losses and the columns, or try --law power",
        )
    factor = extrapolation_factor(budget, fit.sampled)
    if factor > _FARTHEST:
        return Refusal(
            code="outside_sampled_range",
            reason=f"{asked} is {factor:.3g} x beyond the runs ({budget_text(low, fit.axis)} to "
            f"{budget_text(high, fit.axis)}); no interval was ever checked farther than {_FARTHEST:g} x",
            next=f"add runs of about {budget_text(budget / _FARTHEST, fit.axis)}, and take the numbers as a guess",
        )
    return _outside(fit, market, log_n, budget)


def _outside(fit: Fit, market: Market, log_n: float, budget: float) -> Refusal | None:
    """Returns why the optimum was not seen: within the sampled compute its size, beyond it its split D/N."""
    asked = budget_text(budget, fit.axis)
    found = optimum_at(fit, market.price, budget)
    if found is not None and extrapolation_factor(budget, fit.sampled) > 1:
        name, at = "examples a parameter", found[1] - found[0]
        seen = [math.log((data_of(cell) or 1.0) / (cell.params or 1.0)) for cell in market.cells]
        where = "in any run"
    else:
        name, at, where = "parameters", log_n, "near that budget"
        near = math.log(_NEAR)
        seen = [
            math.log(cell.params or 1.0)
            for cell in market.cells
            if abs(math.log((cell.compute(fit.axis) or 1.0) / budget)) <= near
        ]
        if len(set(seen)) < _LEAST_NEAR:
            seen, where = [math.log(cell.params or 1.0) for cell in market.cells], "at all"
    if min(seen) - math.log(_TOLERANCE) <= at <= max(seen) + math.log(_TOLERANCE):
        return None
    optimum, least, most = (math.exp(min(value, 700.0)) for value in (at, min(seen), max(seen)))
    return Refusal(
        code="outside_sampled_range",
        reason=f"at {asked} the optimum has {optimum:.3g} {name}, outside the {least:.3g} to {most:.3g} that were run "
        f"{where}",
        next=f"add runs with about {optimum:.3g} {name}, or ask for a budget where both sides of the optimum were run",
    )
