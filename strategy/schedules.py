"""Two schedules of one study, cell by cell: whether the law of the one may stand for the law of the other.

A run that cools down from a constant rate is another run than one on a cosine, and its losses follow a law of their
own. So cells of both are compared where both were trained, each at its own best learning rate; losses of the two never
enter one fit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.solver.quantiles import LEVEL, t_quantile
from strategy.evidence import Evidence, best_rates
from strategy.field import Field
from strategy.noise import noise_floor
from sweeps.budget import format_core_hours
from sweeps.record import RunRecord
from sweeps.study import Study
from sweeps.trial import Trial

SPOT_CHECKS, COST_SHARE = 3, 0.15
"""Cells that are trained both ways, and what they may cost together: of the study's full grid."""


@dataclass(frozen=True, kw_only=True)
class PairedCell:
    """A cell that was trained with both schedules."""

    name: str
    core_hours: float
    loss: float
    """At its best rate with the schedule that was used for the law [nats]."""
    other_loss: float
    """Likewise with the study's own schedule [nats]."""
    log_ratio_sd: float
    """Standard deviation of log(loss / other_loss) by the noise floors of both."""


@dataclass(frozen=True, kw_only=True)
class ScheduleComparison:
    """What the cells that were trained both ways say."""

    cells: tuple[PairedCell, ...]
    slope_difference: float | None
    """d log(loss / other loss) / d log compute; missing with fewer than two computes."""
    low: float | None
    high: float | None

    @property
    def sentence(self) -> str:
        """Whether the exponent of one law may be read as that of the other, in words."""
        if self.slope_difference is None or self.low is None or self.high is None:
            return "too few cells were trained with both schedules to compare their laws"
        bounds = f"{self.slope_difference:+.3f} ({self.low:+.3f} to {self.high:+.3f}, 90 %)"
        if self.low <= 0.0 <= self.high:
            return f"no difference between the slopes of the two schedules is resolved: {bounds}"
        return (
            f"the two schedules follow different laws, whose slopes differ by {bounds}: one may not stand for the other"
        )


def spot_checks(study: Study, budget_core_hours: float, count: int = SPOT_CHECKS) -> tuple[Trial, ...]:
    """Returns the trials of the cells that are also trained with the study's own schedule, all rates and seeds.

    They are spread evenly over log compute, as far up as COST_SHARE of the full grid's core-hours allows.
    """
    field = Field(study=study, budget_core_hours=budget_core_hours)
    if count < 1 or not len(field.cells):
        return ()
    allowance = COST_SHARE * float(field.core_hours.sum())
    chosen: list[int] = []
    for top in reversed(range(len(field.cells))):
        x = np.log(field.core_hours[: top + 1])
        wanted: list[float] = np.linspace(float(x[0]), float(x[-1]), min(count, top + 1)).tolist()
        chosen = sorted({int(np.abs(x - at).argmin()) for at in wanted})
        if float(field.core_hours[chosen].sum()) <= allowance:
            break
    return tuple(
        field.trial(cell, int(rate), seed) for cell in chosen for rate in field.asked_rates for seed in study.seeds
    )


def compare_schedules(
    study: Study, other: Study, budget_core_hours: float, records: Iterable[RunRecord]
) -> ScheduleComparison:
    """Returns what the cells say that both studies, alike but for the schedule, have runs of.

    The slope is weighted least squares; its interval takes the larger of known noise and scatter about the line.
    """
    records = list(records)
    sides: list[tuple[Field, dict[int, tuple[float, float]]]] = []
    for one in (study, other):
        field = Field(study=one, budget_core_hours=budget_core_hours)
        sides.append((field, _best_losses(field, Evidence.read(field, records))))
    (field, mine), (_, theirs) = sides
    cells = tuple(
        PairedCell(
            name=field.name(cell),
            core_hours=float(field.core_hours[cell]),
            loss=math.exp(mine[cell][0]),
            other_loss=math.exp(theirs[cell][0]),
            log_ratio_sd=math.hypot(mine[cell][1], theirs[cell][1]),
        )
        for cell in sorted(set(mine) & set(theirs))
    )
    return ScheduleComparison(cells=cells, **_slope(cells))


def comparison_lines(found: ScheduleComparison) -> list[str]:
    """Returns the comparison for people, a line a cell and the sentence."""
    lines = [
        f"  {cell.name} at {format_core_hours(cell.core_hours)}: {cell.loss:.4f} against {cell.other_loss:.4f}, "
        f"{100 * (cell.loss / cell.other_loss - 1):+.1f} % (± {100 * cell.log_ratio_sd:.1f})"
        for cell in found.cells
    ]
    return [*lines, found.sentence]


def _best_losses(field: Field, evidence: Evidence) -> dict[int, tuple[float, float]]:
    """Returns the mean log loss of each cell at its best rate, and the standard error of that mean."""
    if not len(evidence):
        return {}
    noise = noise_floor(field, evidence)
    found: dict[int, tuple[float, float]] = {}
    for cell, rate in best_rates(evidence).items():
        own = evidence.log_loss[(evidence.cell == cell) & (evidence.rate == rate)]
        found[cell] = float(own.mean()), float(noise.sd[cell]) / math.sqrt(len(own))
    return found


def _slope(cells: tuple[PairedCell, ...]) -> dict[str, float | None]:
    x = np.log(np.array([cell.core_hours for cell in cells]))
    if len(cells) < 2 or float(np.ptp(x)) < 0.1:
        return {"slope_difference": None, "low": None, "high": None}
    y = np.log(np.array([cell.loss / cell.other_loss for cell in cells]))
    weights = 1.0 / np.array([cell.log_ratio_sd for cell in cells]) ** 2
    x_off = x - np.average(x, weights=weights)
    slope = float((weights * x_off) @ y / ((weights * x_off) @ x_off))
    residual = y - np.average(y, weights=weights) - slope * x_off
    freedom = max(len(cells) - 2, 1)
    scatter = max(1.0, float((weights * residual) @ residual) / freedom) if len(cells) > 2 else 1.0
    half = t_quantile((1 + LEVEL) / 2, max(freedom, 3)) * math.sqrt(scatter / float((weights * x_off) @ x_off))
    return {"slope_difference": slope, "low": slope - half, "high": slope + half}
