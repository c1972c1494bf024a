"""The law of each family's best loss: a power of compute, with a floor where the losses bend towards one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.compare.axes import Axis
from analysis.compare.best import BestLosses
from analysis.compare.family import Family
from analysis.fits.surface_fit import estimate
from analysis.fitting import fit_law, fit_many
from analysis.laws import POWER, POWER_FLOOR, Floats, Law
from analysis.refusal import FitRefused
from analysis.result import Estimate

_SURELY_BENDS = 0.95
"""Part of the resamples in which log loss must bend upwards before a floor is fitted."""
_FARTHEST = math.log(1e3)
"""A law that reaches a loss beyond this factor of its cells, or never, is said to reach it there."""


@dataclass(frozen=True, kw_only=True)
class FamilyLaw:
    """The law of one family on an axis that training spends."""

    family: str
    law: Law
    parameters: Mapping[str, Estimate]
    draws: Mapping[str, Floats]
    """Of each resample, shape (R,) each."""
    best: BestLosses
    """What it was fitted to."""
    residual_sd: float
    """Scatter of the smoothed envelope about the law, as a standard deviation of log loss."""

    @property
    def span(self) -> tuple[float, float]:
        """Log compute between which it was fitted."""
        return float(self.best.grid[0]), float(self.best.grid[-1])

    @property
    def values(self) -> dict[str, float]:
        """The fitted parameters alone."""
        return {name: one.value for name, one in self.parameters.items()}

    def log_loss(self, log_compute: Floats) -> Floats:
        """Returns log losses, first the fit's and then those of every resample, shape (1 + R, K)."""
        return self.law.log_loss(self._all(), {"compute": np.asarray(log_compute)[None]})

    def log_compute(self, log_loss: Floats) -> Floats:
        """Returns the log compute that reaches log losses (K,) or (1 + R, K), shape (1 + R, K)."""
        p = self._all()
        floor = np.asarray(p.get("E", 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            above = np.log(np.maximum(np.exp(np.atleast_2d(log_loss)) - floor, 0.0))
            found = (np.log(p["a"]) - above) / p["b"]
        low, high = self.span
        return np.clip(np.where(p["b"] > 0, found, np.inf), low - _FARTHEST, high + _FARTHEST)

    def _all(self) -> dict[str, Floats]:
        return {name: np.concatenate([[one.value], self.draws[name]])[:, None] for name, one in self.parameters.items()}


def wants_floor(bests: Sequence[BestLosses]) -> bool:
    """Returns whether the losses of any family surely bend: then all are given a floor, so that the forms compare."""
    shares: list[float] = []
    for best in bests:
        x = best.grid - float(np.mean(best.grid))
        # What is left of x^2 beside a straight line: evenly spaced about 0, x^2 has no slope.
        bend = x * x - float(np.mean(x * x))
        drawn: Floats = (best.draws if len(best.draws) else best.log_loss[None]) @ bend
        shares.append(float(np.mean(drawn > 1e-9)))
    return max(shares) >= _SURELY_BENDS


def fit_families(
    families: Sequence[Family], bests: Sequence[BestLosses], axis: Axis, *, level: float
) -> tuple[FamilyLaw, ...]:
    """Returns the law of each family, all of one form.

    Raises:
        FitRefused: the loss of a family does not fall, so that there is no law.
    """
    law = POWER_FLOOR if wants_floor(bests) else POWER
    try:
        return tuple(_fit(law, f, best, axis, level=level) for f, best in zip(families, bests, strict=True))
    except FitRefused:
        if law == POWER:
            raise
        return tuple(_fit(POWER, f, best, axis, level=level) for f, best in zip(families, bests, strict=True))


def _fit(law: Law, family: Family, best: BestLosses, axis: Axis, *, level: float) -> FamilyLaw:
    design = {"compute": best.grid}
    found = fit_law(law, design, best.log_loss, delta=None)
    values = {name: float(value[0]) for name, value in found.parameters.items()}
    if not found.converged[0] or values["b"] <= 0:
        raise FitRefused(
            code="no_fall",
            reason=f"the loss of {family.name} does not follow {law.formula} in {axis.unit}",
            next=f"look at its runs (try: --study {family.study})",
        )
    drawn = fit_many(law, design, best.draws, np.ones((1, len(best.grid))), start=found, delta=None)
    # A resample whose fit failed keeps the whole's: the draws of all families must stay in step.
    draws = {
        name: np.where(drawn.converged & np.isfinite(value), value, values[name])
        for name, value in drawn.parameters.items()
    }
    residual = law.log_loss(values, design) - best.log_loss
    return FamilyLaw(
        family=family.name,
        law=law,
        parameters={name: estimate(value, draws[name], draws[name], level) for name, value in values.items()},
        draws=draws,
        best=best,
        residual_sd=float(np.sqrt(np.mean(residual**2))),
    )
