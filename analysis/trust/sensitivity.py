"""What would change had one thing been decided otherwise: the loss, the floor, the outliers, the top budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.allocation import Price, Surface
from analysis.estimators.best_rate import Cell
from analysis.fitting import FitBatch, Prior
from analysis.laws import POWER, POWER_FLOOR, Floats, Law
from analysis.trust.backtest import RowsOf

OUTLIER = 5.0
"""Robust standard deviations from the law."""
_FARTHER = 10.0
_ONE_BUDGET, _TOP_SHARE = 1.25, 0.05
"""The top budget: runs within a quarter of the dearest, and at least one in twenty."""
HUBER_DELTA = 1e-3


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The law fitted with one thing changed."""

    name: str
    law: str
    rows: int
    values: dict[str, float]
    loss_at_top: float | None
    """At the dearest compute sampled."""
    loss_at_ten_times: float | None
    params_at_ten_times: float | None
    """Best size there; missing for laws of compute alone."""


def outliers(residual: Floats) -> np.ndarray:
    """Returns which residuals lie farther than OUTLIER robust standard deviations from their median."""
    centre = float(np.median(residual))
    scale = 1.4826 * float(np.median(np.abs(residual - centre)))
    return np.abs(residual - centre) > OUTLIER * max(scale, 1e-12)


def variants(
    law: Law, cells: Sequence[Cell], axis: str, rows_of: RowsOf, *, delta: float | None, priors: tuple[Prior, ...],
    price: Price | None,
) -> tuple[Variant, ...]:  # fmt: skip
    """Returns the law as it is and with one thing changed at a time; what cannot be fitted is left out."""
    rows, _ = rows_of(cells)
    computes = np.array([cell.compute(axis) or np.nan for cell in cells])
    top = float(np.nanmax(computes))

    def variant(name: str, law: Law, batch: FitBatch, count: int) -> Variant | None:
        values = {key: float(value[0]) for key, value in batch.parameters.items()}
        return _variant(name, law, values, count, np.log(top), price) if batch.converged[0] else None

    fitted = rows.fit(law, delta=delta, priors=priors)
    found = [variant("as fitted", law, fitted, rows.count)]
    other = None if delta is not None else HUBER_DELTA
    name = "least squares" if other is None else f"Huber, delta {other:g}"
    found.append(variant(name, law, rows.fit(law, delta=other, priors=priors), rows.count))
    values = {key: float(value[0]) for key, value in fitted.parameters.items()}
    away = outliers(law.log_loss(values, rows.log_values) - rows.log_loss)
    if away.any() and (~away).sum() > len(law.parameters) + 1:
        part = rows.only(~away)
        found.append(
            variant(f"without {int(away.sum())} outliers", law, part.fit(law, delta=delta, priors=priors), part.count)
        )
    edge = min(top / _ONE_BUDGET, float(np.nanquantile(computes, 1 - _TOP_SHARE)))
    below = [cell for cell, compute in zip(cells, computes, strict=True) if compute < edge * (1 - 1e-9)]
    if len(below) > len(law.parameters) + 1:
        part, _ = rows_of(below)
        if part.count > len(law.parameters) + 1:
            found.append(variant("without the top budget", law, part.fit(law, delta=delta, priors=priors), part.count))
    for other_law, held, title in _floors(law, float(np.exp(rows.log_loss.min())), priors):
        if rows.count > len(other_law.parameters) + 1:
            found.append(variant(title, other_law, rows.fit(other_law, delta=delta, priors=held), rows.count))
    return tuple(one for one in found if one is not None)


def _floors(law: Law, least: float, priors: tuple[Prior, ...]) -> list[tuple[Law, tuple[Prior, ...], str]]:
    if "E" not in law.parameters:
        return [(POWER_FLOOR, (), "with a floor")] if law == POWER else []
    without = [(law, (Prior(parameter="E", value=1e-9 * least),), "without a floor")]
    return [*without, (law, (), "with a free floor")] if any(p.parameter == "E" for p in priors) else without


def _variant(name: str, law: Law, values: dict[str, float], count: int, log_top: float, price: Price | None) -> Variant:
    at_top = farther = params = None
    if law.fits_frontier:
        at_top, farther = (
            float(np.exp(law.log_loss(values, {"compute": x}))) for x in (log_top, log_top + np.log(_FARTHER))
        )
    elif price is not None and price.is_one:
        surface = Surface.of(law, values)
        ends = (log_top - price.log_k, log_top + np.log(_FARTHER) - price.log_k)
        at_top, farther = (_finite(np.exp(surface.log_best_loss(x))) for x in ends)
        params = _finite(np.exp(surface.log_params(ends[1])))
    return Variant(
        name=name, law=law.name, rows=count, values=values, loss_at_top=at_top, loss_at_ten_times=farther,
        params_at_ten_times=params,
    )  # fmt: skip


def _finite(value: Floats) -> float | None:
    return float(value) if np.isfinite(value) else None
