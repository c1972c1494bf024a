"""Rows of a fit: the log variables that laws read, the log loss, and what each row cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.estimators.allocation import Surface, data_of
from analysis.estimators.best_rate import Cell
from analysis.fitting import FitBatch, Prior, design_of, fit_law, fit_many
from analysis.laws import REPEATED, SURFACE, Floats, Law
from analysis.solver.design import Design

_DELTA = 1e-3
"""Huber delta of the fits that useful parameters come from (arXiv:2203.15556 sec. 3.3)."""
_ROUNDS, _SETTLED = 12, 1e-6


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a law is fitted to."""

    log_values: dict[str, Floats]
    """Each variable, (n,)."""
    log_loss: Floats
    log_compute: Floats
    owner: np.ndarray
    """Index of the cell that each row belongs to: rows of one cell are resampled together."""
    weights: Floats
    """How much each row counts, (n,): 1, or less where the run is tainted."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.log_loss)

    def only(self, chosen: np.ndarray) -> "Rows":
        """Returns some of the rows, by mask or index."""
        return replace(
            self,
            log_values={name: values[chosen] for name, values in self.log_values.items()},
            log_loss=self.log_loss[chosen],
            log_compute=self.log_compute[chosen],
            owner=self.owner[chosen],
            weights=self.weights[chosen],
        )

    def fit(self, law: Law, *, delta: float | None, priors: tuple[Prior, ...] = ()) -> FitBatch:
        """Returns the best fit of a law as a batch of one."""
        return fit_law(law, self.log_values, self.log_loss, delta=delta, priors=priors, weights=self.weights)

    def design(self, law: Law, *, delta: float | None, priors: tuple[Prior, ...] = ()) -> Design:
        """Returns the solver's view of the rows."""
        return design_of(law, self.log_values, delta=delta, priors=priors)


def compute_rows(log_compute: Floats, log_loss: Floats, weights: Floats | None = None) -> Rows:
    """Returns rows of a law of compute alone, all of weight 1 unless another is given."""
    return Rows(
        log_values={"compute": log_compute},
        log_loss=log_loss,
        log_compute=log_compute,
        owner=np.arange(len(log_loss)),
        weights=np.ones(len(log_loss)) if weights is None else weights,
    )


def surface_rows(cells: Sequence[Cell], axis: str, law: Law) -> Rows:
    """Returns every run at its cell's best rate, as given; cells without params or data are left out."""
    wanted = sorted((cell for cell in cells if cell.params and data_of(cell)), key=lambda cell: cell.place)
    owner = np.array([i for i, cell in enumerate(wanted) for _ in cell.best.weighted_losses], dtype=np.intp)
    runs = np.array([run for cell in wanted for run in cell.best.weighted_losses], dtype=np.float64).reshape(-1, 2)
    runs[:, 1] *= [cell.precision for cell in wanted for _ in cell.best.weighted_losses]
    log_n = np.log(np.array([cell.params or math.nan for cell in wanted]))[owner]
    log_d = np.log(np.array([data_of(cell) or math.nan for cell in wanted]))[owner]
    unique = np.log(np.array([_unique(cell) for cell in wanted]))[owner]
    rows = Rows(
        log_values={
            "params": log_n,
            "data": log_d,
            "six_params_squared": math.log(6.0) + 2 * log_n,
            "six_data_squared": math.log(6.0) + 2 * log_d,
            "unique_data": np.minimum(unique, log_d),
        },
        log_loss=np.log(runs[:, 0]),
        log_compute=np.log(np.array([cell.compute(axis) or math.nan for cell in wanted]))[owner],
        owner=owner,
        weights=runs[:, 1],
    )
    return with_useful_params(rows) if "useful_params" in law.variables else rows


def _unique(cell: Cell) -> float:
    return cell.unique_tokens or data_of(cell) or math.nan


def with_useful_params(rows: Rows) -> Rows:
    """Returns rows with U_N, the size that would be best for their distinct data, by the law's own parameters.

    U_N and the law depend on each other, so each fit of the law gives the next U_N (arXiv:2305.16264 sec. 3.1 takes a
    surface fitted elsewhere instead). Two beginnings are tried: the surface of the runs that repeat nothing, and no
    parameter in excess. The rounds are no descent: the best of all counts, not the last.
    """
    fresh = rows.log_values["data"] <= rows.log_values["unique_data"] + 1e-9
    base = rows.only(fresh) if fresh.sum() > 2 * len(SURFACE.parameters) else rows
    plain = replace(rows, log_values=rows.log_values | {"useful_params": rows.log_values["params"]})
    starts = (_useful(rows, base.fit(SURFACE, delta=_DELTA), SURFACE), plain)
    return min((_settled(start) for start in starts), key=lambda found: found[0])[1]


def _settled(rows: Rows) -> tuple[float, Rows]:
    """Returns the least objective of the rounds, and the rows with the U_N that gave it."""
    fitted = rows.fit(REPEATED, delta=_DELTA)
    least, kept = float(fitted.objective[0]), rows
    for _ in range(_ROUNDS):
        moved = _useful(rows, fitted, REPEATED)
        change = float(np.abs(moved.log_values["useful_params"] - rows.log_values["useful_params"]).max())
        rows = moved
        fitted = fit_many(
            REPEATED, rows.log_values, rows.log_loss[None], rows.weights[None], start=fitted, delta=_DELTA
        )
        if fitted.objective[0] <= least:
            least, kept = float(fitted.objective[0]), rows
        if change < _SETTLED:
            break
    return least, kept


def _useful(rows: Rows, fitted: FitBatch, law: Law) -> Rows:
    surface = Surface.of(law, {name: float(value[0]) for name, value in fitted.parameters.items()})
    # At the optimum alpha A N^-alpha = beta B D^-beta.
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(surface.alpha * surface.A / (surface.beta * surface.B))
        balance = (ratio + surface.beta * rows.log_values["unique_data"]) / surface.alpha
    # Without an optimum no parameter is in excess.
    useful = np.minimum(rows.log_values["params"], np.where(np.isfinite(balance), balance, np.inf))
    return replace(rows, log_values=rows.log_values | {"useful_params": useful})
