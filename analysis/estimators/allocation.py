"""How a surface splits a budget between parameters and data, in closed form and for many draws at once.

With C = k N D, the least of E + A N^-alpha + B D^-beta lies at N* = G (C/k)^a with a = beta / (alpha + beta) and
G = (alpha A / (beta B))^(1 / (alpha + beta)) (arXiv:2203.15556 eq. 4); there L* = E + K (C/k)^-gamma with
gamma = alpha beta / (alpha + beta).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.estimators.best_rate import Cell
from analysis.laws import Floats, Law

_SAME_PRICE = 0.1
"""Largest spread of log(compute / (N D)) at which compute counts as proportional to N D."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a parameter seeing an example costs."""

    log_k: float
    """Log of compute / (N D), the median over cells."""
    is_one: bool
    """Whether all cells pay the same."""


def price_of(cells: Sequence[Cell], axis: str) -> Price:
    """Returns k of C = k N D; cells without parameters, data or compute are passed over."""
    logs = [
        np.log(compute / (cell.params * data))
        for cell in cells
        if (compute := cell.compute(axis)) and cell.params and (data := data_of(cell))
    ]
    return Price(log_k=float(np.median(logs)), is_one=float(np.std(logs)) < _SAME_PRICE)


def data_of(cell: Cell) -> float | None:
    """Returns the D of a cell: its tokens or images, else its epochs."""
    return cell.tokens if cell.tokens is not None else cell.epochs


@dataclass(frozen=True, kw_only=True)
class Surface:
    """E + A N^-alpha + B D^-beta, each parameter a number or (R,) draws."""

    E: Floats
    A: Floats
    B: Floats
    alpha: Floats
    beta: Floats

    @classmethod
    def of(cls, law: Law, values: Mapping[str, float | Floats]) -> "Surface":
        """Returns the surface that a law of params and data is where no example is repeated."""
        v = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
        if law.name == "over_training":
            # a (6 N^2)^-eta + b (6 D^2)^-eta
            six = 6.0 ** -v["eta"]
            return cls(E=v["E"], A=v["a"] * six, B=v["b"] * six, alpha=2 * v["eta"], beta=2 * v["eta"])
        return cls(E=v["E"], A=v["A"], B=v["B"], alpha=v["alpha"], beta=v["beta"])

    @property
    def exponent_params(self) -> Floats:
        """The a of N* ~ C^a."""
        return np.asarray(self.beta / (self.alpha + self.beta))

    def log_params(self, log_product: float | Floats) -> Floats:
        """Returns log N* for a log budget of N D; NaN for draws that have no optimum."""
        with np.errstate(invalid="ignore", divide="ignore"):
            log_g = np.log(self.alpha * self.A / (self.beta * self.B)) / (self.alpha + self.beta)
            return np.where(self._has_optimum, log_g + self.exponent_params * log_product, np.nan)

    def log_loss(self, log_params: Floats, log_data: Floats) -> Floats:
        """Returns log L."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.log(self.E + self.A * np.exp(-self.alpha * log_params) + self.B * np.exp(-self.beta * log_data))

    def log_best_loss(self, log_product: float | Floats) -> Floats:
        """Returns log L* at a log budget of N D."""
        best = self.log_params(log_product)
        return self.log_loss(best, log_product - best)

    def log_product_for(self, loss: float) -> Floats:
        """Returns the log budget of N D at which L* is `loss`; infinite for draws whose floor is not below it."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            best = self.log_params(0.0)
            scale = self.A * np.exp(-self.alpha * best) + self.B * np.exp(self.beta * best)
            gamma = self.alpha * self.exponent_params
            found = (np.log(scale) - np.log(np.maximum(loss - self.E, 0.0))) / gamma
        return np.where(self._has_optimum, found, np.nan)

    @property
    def _has_optimum(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self.A > 0) & (self.B > 0) & (self.alpha > 0) & (self.beta > 0))
