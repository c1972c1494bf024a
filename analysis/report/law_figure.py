"""The law as drawn in the figure of loss against compute: its line, its band, how far it is carried on, its picks."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.estimators.allocation import Price, Surface, data_of, price_of
from analysis.laws import Floats, Law
from analysis.report.figure_style import FAINT, INK, number_text, symbol
from analysis.result import Pick, ScalingFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SAMPLES = 160
_SLACK = 1.15
"""The line of a law without extrapolated picks ends this factor outside the sampled range."""
_FARTHEST = 100.0
"""Picks farther outside the sampled range than this are not drawn: nothing else would be seen."""
_BAND_COVERS = 0.5
"""A band is drawn where this part of the resamples has a best loss."""
_MATH = {
    "power_floor": r"$L = E + a\,C^{\,-b}$",
    "saturating": r"$L = E + a\,(C + d)^{-b}$",
    "broken": r"$L = E + a\,C^{-b}\,(1 + (C/d)^{1/f})^{-cf}$",
    "surface": r"$L = E + A\,N^{-\alpha} + B\,D^{-\beta}$",
    "repeated": r"$L = E + A\,N'^{\,-\alpha} + B\,D'^{\,-\beta}$",
    "over_training": r"$L = E + (a\,M^{\eta} + b\,M^{-\eta})\,C^{-\eta}$",
}


@dataclass(frozen=True, kw_only=True)
class LawLine:
    """The least loss that a law sees for a compute."""

    compute: Floats
    loss: Floats
    low: Floats | None
    """Band of the resamples at the fit's level; missing without them."""
    high: Floats | None
    sampled_top: float
    """Beyond this compute nothing was run."""


def common_price(result: ScalingFit) -> Price | None:
    """Returns k of C = k N D; None where it is not one number."""
    axis = result.fit.axis
    priced = [cell for cell in result.cells if cell.compute(axis) and cell.params and data_of(cell)]
    price = price_of(priced, axis) if priced else None
    return price if price is not None and price.is_one and math.isfinite(price.log_k) else None


def drawn_picks(result: ScalingFit) -> list[Pick]:
    """Returns the picks with a loss that lie near enough to the sampled range to be shown with it."""
    low, high = result.fit.sampled[0] / _FARTHEST, result.fit.sampled[1] * _FARTHEST
    return [
        pick
        for pick in result.picks
        if pick.predicted_loss and math.isfinite(pick.predicted_loss) and low <= pick.budget <= high
    ]


def law_line(result: ScalingFit) -> LawLine | None:
    """Returns the law's best loss from the cheapest run or pick to the dearest; None for a surface without a price."""
    fit = result.fit
    budgets = [pick.budget for pick in drawn_picks(result)]
    ends = min([fit.sampled[0], *budgets]) / _SLACK, max([fit.sampled[1], *budgets]) * _SLACK
    compute = np.unique(np.concatenate([np.geomspace(*ends, _SAMPLES), [fit.sampled[1]]]))
    price = None if fit.law.fits_frontier else common_price(result)
    log_loss = _best_loss(fit.law, price, dict(fit.values), np.log(compute))
    if log_loss is None or not np.isfinite(log_loss).all():
        return None
    low = high = None
    if fit.draws:
        drawn = _best_loss(
            fit.law, price, {name: draws[:, None] for name, draws in fit.draws.items()}, np.log(compute)[None]
        )
        drawn = np.zeros((0, 0)) if drawn is None else drawn[np.isfinite(drawn).all(axis=1)]
        if len(drawn) >= _BAND_COVERS * len(next(iter(fit.draws.values()))):
            low, high = np.exp(np.quantile(drawn, [(1 - fit.level) / 2, (1 + fit.level) / 2], axis=0))
    return LawLine(compute=compute, loss=np.exp(log_loss), low=low, high=high, sampled_top=fit.sampled[1])


def _best_loss(
    law: Law, price: Price | None, values: dict[str, float | Floats], log_compute: Floats
) -> Floats | None:  # fmt: skip
    if law.fits_frontier:
        return law.log_loss(values, {"compute": log_compute})
    if price is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        return Surface.of(law, values).log_best_loss(log_compute - price.log_k)


def draw_law(axes: "Axes", result: ScalingFit, line: LawLine | None) -> None:
    """Draws the line and its band, dotted and paler where nothing was run, and the picks with their intervals."""
    if line is None:
        return
    inside, outside = line.compute <= line.sampled_top, line.compute >= line.sampled_top
    for part, style, alpha in ((inside, (0, (5, 3)), 0.15), (outside, (0, (1, 2)), 0.08)):
        axes.plot(line.compute[part], line.loss[part], color=INK, linewidth=1.6, linestyle=style, zorder=5)
        if line.low is not None and line.high is not None:
            low, high = line.low[part], line.high[part]
            axes.fill_between(line.compute[part], low, high, color=INK, alpha=alpha, linewidth=0, zorder=2)
    for pick in drawn_picks(result):
        loss, colour = pick.predicted_loss or math.nan, FAINT if pick.refused else INK
        if pick.low and pick.high:
            bar = [[max(loss - pick.low, 0.0)], [max(pick.high - loss, 0.0)]]
            axes.errorbar(
                [pick.budget], [loss], yerr=bar, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2.5, alpha=0.8,
                zorder=6,
            )  # fmt: skip
        axes.scatter([pick.budget], [loss], s=26, marker="D", c="white", edgecolors=colour, linewidths=1.1, zorder=7)


def law_text(result: ScalingFit) -> str:
    """Returns the law, its parameters and how well it holds, in two or three lines."""
    fit, values = result.fit, result.fit.values
    rows = f"$r^2$ {fit.r2:.3f} over {len(result.frontier)} frontier cells"
    if fit.law.name == "power":
        slope = fit.parameters["b"]
        head = rf"$L = {values['a']:.3g}\;C^{{\,-{values['b']:.3f}}}$".replace("^{\\,--", "^{\\,")
        bounds = "" if slope.low is None or slope.high is None else f"  ({-slope.high:.3f} to {-slope.low:.3f})"
        return "\n".join([head, f"slope {-slope.value:.3f}{bounds}".replace("-", "−"), rows])
    head = _MATH.get(fit.law.name) or fit.law.formula.replace("-", "−")
    numbers = [f"{symbol(name)} {number_text(value)}" for name, value in values.items()]
    lines = [head, *("   ".join(numbers[i : i + 5]) for i in range(0, len(numbers), 5))]
    if fit.law.fits_frontier:
        return "\n".join([*lines, rows])
    return "\n".join([*lines, f"scatter about it {100 * fit.residual_sd:.2g} % over {fit.n_points} runs"])
