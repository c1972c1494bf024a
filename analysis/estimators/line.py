"""A weighted straight line through a few points whose errors are known, and what it says elsewhere."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.laws import Floats
from analysis.solver.quantiles import t_quantile


@dataclass(frozen=True, kw_only=True)
class Line:
    """y = intercept + slope (x - centre), fitted by weighted least squares."""

    slope: float
    intercept: float
    centre: float
    covariance: Floats
    """Of (intercept, slope), (2, 2), at the scale below."""
    freedom: int
    """Of Student's t for its intervals."""
    residual_sd: float
    """Unweighted scatter of the points."""

    def at(self, x: float) -> float:
        """Returns the line at x."""
        return self.intercept + self.slope * (x - self.centre)

    def half_width(self, x: float, level: float) -> float:
        """Returns half the interval of the line at x."""
        z = np.array([1.0, x - self.centre])
        return t_quantile((1 + level) / 2, self.freedom) * math.sqrt(float(z @ self.covariance @ z))

    def slope_half_width(self, level: float) -> float:
        """Returns half the interval of the slope."""
        return t_quantile((1 + level) / 2, self.freedom) * math.sqrt(float(self.covariance[1, 1]))


def line_through(x: Floats, y: Floats, sd: Floats, *, sd_freedom: int = 40) -> Line:
    """Returns the line through at least three points, each weighted by 1 / (sd^2 + tau^2).

    tau^2 is the variance that the points show about the line beyond their stated `sd` (Paule & Mandel 1982), zero when
    they show none: no point then rules the line by an error that is understated. The covariance is the wider of what
    the stated errors imply (known to `sd_freedom` degrees of freedom) and what the points' own scatter shows, for the
    one misses errors that are not in `sd` and the other is unsure of itself with few points.

    Raises:
        ValueError: fewer than three points, or all at one x.
    """
    if len(x) < 3 or np.ptp(x) == 0:
        raise ValueError("a line with an interval needs three points at different x")
    freedom = len(x) - 2
    low, high = 0.0, float(np.var(y)) + 1e-300
    theta, covariance, centre, seen = _weighted(x, y, 1.0 / sd)
    if seen > 1.0:
        for _ in range(60):
            middle = 0.5 * (low + high)
            theta, covariance, centre, seen = _weighted(x, y, 1.0 / np.sqrt(sd**2 + middle))
            low, high = (middle, high) if seen > 1.0 else (low, middle)
    residual = y - theta[0] - theta[1] * (x - centre)
    stated = (t_quantile(0.95, sd_freedom) / t_quantile(0.95, freedom)) ** 2
    return Line(
        slope=float(theta[1]),
        intercept=float(theta[0]),
        centre=centre,
        covariance=covariance * max(seen, stated),
        freedom=freedom,
        residual_sd=float(np.sqrt((residual**2).sum() / freedom)),
    )


def _weighted(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, float, float]:
    """Returns (intercept, slope), their covariance at scale 1, the centre, and the squared weighted scatter seen."""
    centre = float(np.average(x, weights=weights**2))
    design = np.stack([np.ones_like(x), x - centre], axis=1)
    scaled = design * weights[:, None]
    covariance: Floats = np.asarray(np.linalg.inv(scaled.T @ scaled), dtype=np.float64)
    theta = covariance @ scaled.T @ (y * weights)
    residual = (y - design @ theta) * weights
    return theta, covariance, centre, float(residual @ residual) / (len(x) - 2)
