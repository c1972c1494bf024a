"""How long a trial will take by the clock: from timed runs of its model, a calibration, or its core-hours."""

import dataclasses
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sweeps.cost import Cost
from sweeps.hardware import Hardware
from sweeps.pricing import find_throughput, gradients_a_step
from sweeps.record import RunRecord
from sweeps.trial import Trial

_SECONDS_PER_HOUR = 3600.0


_LATEST = 5
"""Runs of each model that say how fast it trains nowadays."""


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """How fast models were seen to train."""

    s_per_step: dict[tuple[str, int], float]
    """By model and batch [s]."""
    s_per_flop: float | None
    """Over all models; missing where nothing was timed."""

    @classmethod
    def of(cls, records: Iterable[RunRecord]) -> "Speeds":
        """Returns the slowest that settled runs were timed at: cautious, for a time limit follows from it."""
        steps: dict[tuple[str, int], float] = {}
        flops: list[float] = []
        for record, s_per_step in _timed(records):
            key = (record.trial.model, record.trial.batch_images)
            steps[key] = max(steps.get(key, 0.0), s_per_step)
            flops.append(s_per_step * record.trial.steps / record.cost.flops)
        return cls(s_per_step=steps, s_per_flop=max(flops, default=None))

    @classmethod
    def typical_of(cls, records: Iterable[RunRecord]) -> "Speeds":
        """Returns the median of the latest runs of each model: for what is told to people."""
        steps: dict[tuple[str, int], list[float]] = {}
        flops: list[float] = []
        for record, s_per_step in sorted(_timed(records), key=lambda item: item[0].ended_unix_s or 0.0):
            steps.setdefault((record.trial.model, record.trial.batch_images), []).append(s_per_step)
            flops.append(s_per_step * record.trial.steps / record.cost.flops)
        return cls(
            s_per_step={key: statistics.median(found[-_LATEST:]) for key, found in steps.items()},
            s_per_flop=statistics.median(flops) if flops else None,
        )


def _timed(records: Iterable[RunRecord]) -> Iterator[tuple[RunRecord, float]]:
    """Yields settled runs and what a step of their own took [s]."""
    for record in records:
        outcome = record.outcome
        if outcome is None or not record.is_settled or outcome.wall_s <= 0.0:
            continue
        own_steps = outcome.steps - outcome.shared_steps
        if own_steps > 0:
            yield record, outcome.wall_s / own_steps


def with_wall_hours(
    cost: Cost,
    trial: Trial,
    *,
    speeds: Speeds,
    hardware: Hardware,
    cores: int | None,
    at_hand: Hardware | None = None,
) -> Cost:
    """Returns the cost with its wall-hours; they stay missing where nothing is known.

    Args:
        cost: of the trial.
        trial: what is trained.
        speeds: what was timed.
        hardware: whose core-hours the cost counts; those of a scale model are FLOPs by another name and say no time.
        cores: how many of them one trial gets; None: unknown.
        at_hand: what was calibrated on the very devices that will train it; None: nothing.
    """
    throughput = None if at_hand is None else find_throughput(at_hand, trial.family, trial.model, trial.data)
    per_step = speeds.s_per_step.get((trial.model, trial.batch_images))
    if per_step is not None:
        hours = per_step * trial.steps / _SECONDS_PER_HOUR
    elif throughput is not None:
        images_per_s = throughput.images_per_s_per_core * (cores or 1) / gradients_a_step(trial.recipe)
        hours = trial.images / images_per_s / _SECONDS_PER_HOUR
    elif hardware.flops_per_core_hour is None and cores is not None:
        hours = cost.core_hours / cores
    elif speeds.s_per_flop is not None:
        hours = speeds.s_per_flop * cost.flops / _SECONDS_PER_HOUR
    else:
        return cost
    return dataclasses.replace(cost, wall_hours=hours)
