"""The best peak learning rate as a power of size and data: lr* = c N^p D^q (arXiv:2503.04715 eq. 1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.allocation import data_of
from analysis.estimators.best_rate import Cell
from analysis.solver.quantiles import LEVEL, t_quantile

_LEAST_CELLS = 6


@dataclass(frozen=True, kw_only=True)
class RateLaw:
    """lr* = coefficient N^exponent_params D^exponent_data, by least squares on logs."""

    coefficient: float
    exponent_params: float
    exponent_params_interval: tuple[float, float]
    exponent_data: float
    exponent_data_interval: tuple[float, float]
    scatter_octaves: float
    """Standard deviation of log2 lr* about the law."""
    cells: int
    """Cells whose best rate lies between others that were tried."""
    censored: int
    """Cells left out: their best rate was on the edge of those tried, so that the true one is not known."""

    def peak_lr(self, params: float, data: float) -> float:
        """Returns the best peak learning rate of a size and an amount of data."""
        return self.coefficient * params**self.exponent_params * data**self.exponent_data


def fit_rate_law(cells: Sequence[Cell], *, level: float = LEVEL) -> RateLaw | None:
    """Returns the law through the cells whose optimum is not censored; None where they do not tell size from data."""
    tried = [cell for cell in cells if cell.best.peak_lr and cell.params and data_of(cell)]
    inner = [cell for cell in tried if cell.edge is None]
    if len(inner) < _LEAST_CELLS:
        return None
    rate = np.log([cell.parabola_peak_lr or cell.best.peak_lr or math.nan for cell in inner])
    design = np.stack(
        [np.ones(len(inner)), np.log([c.params or 1.0 for c in inner]), np.log([data_of(c) or 1.0 for c in inner])],
        axis=1,
    )
    weights = np.array([cell.fit_weight for cell in inner])
    centre = np.average(design[:, 1:], axis=0, weights=weights)
    design[:, 1:] -= centre
    if np.linalg.svd(design, compute_uv=False)[-1] < 0.1 * math.sqrt(len(inner)):
        return None
    # A deviation counts by the square root of its weight.
    design, rate = design * np.sqrt(weights)[:, None], rate * np.sqrt(weights)
    theta = np.linalg.lstsq(design, rate, rcond=None)[0]
    freedom = len(inner) - 3
    variance = float(((rate - design @ theta) ** 2).sum()) / freedom
    half = t_quantile((1 + level) / 2, freedom) * np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    return RateLaw(
        coefficient=math.exp(min(float(theta[0] - theta[1:] @ centre), 300.0)),
        exponent_params=float(theta[1]),
        exponent_params_interval=(float(theta[1] - half[1]), float(theta[1] + half[1])),
        exponent_data=float(theta[2]),
        exponent_data_interval=(float(theta[2] - half[2]), float(theta[2] + half[2])),
        scatter_octaves=math.sqrt(variance) / math.log(2),
        cells=len(inner),
        censored=len(tried) - len(inner),
    )
