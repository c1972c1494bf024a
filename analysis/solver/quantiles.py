"""Quantiles: of Student's t without loading scipy, and of draws."""

import math
from statistics import NormalDist

import numpy as np

from analysis.laws import Floats

LEVEL = 0.9
"""Coverage that every interval is meant to have unless another is asked for."""
_LEAST_DRAWS = 20


def t_quantile(probability: float, freedom: int) -> float:
    """Returns a quantile of Student's t, to 1e-6: from its finite sum, or above 200 degrees of freedom from a series.

    Args:
        probability: between 0.5 and 1.
        freedom: degrees of freedom, at least 1.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        two = 2 * probability - 1
        return two * math.sqrt(2 / (1 - two * two))
    if freedom > 200:
        # Abramowitz & Stegun 26.7.5.
        z = NormalDist().inv_cdf(probability)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, 400.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _t_cumulative(middle, freedom) < probability else (low, middle)
    return 0.5 * (low + high)


def _t_cumulative(t: float, freedom: int) -> float:
    """Returns P(T < t) for t >= 0, as the finite sum of Abramowitz & Stegun 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(freedom))
    sine, cosine2 = math.sin(theta), math.cos(theta) ** 2
    if freedom % 2:
        total, term = 0.0, math.cos(theta)
        for k in range(1, freedom - 1, 2):
            total += term
            term *= cosine2 * (k + 1) / (k + 2)
        return 0.5 + (theta + sine * total) / math.pi
    total, term = 0.0, 1.0
    for k in range(0, freedom - 1, 2):
        total += term
        term *= cosine2 * (k + 1) / (k + 2)
    return 0.5 + 0.5 * sine * total


def interval(draws: Floats, *, level: float = LEVEL) -> tuple[float, float] | None:
    """Returns the central interval of the finite draws that holds `level` of them; None with fewer than twenty."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < _LEAST_DRAWS:
        return None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
