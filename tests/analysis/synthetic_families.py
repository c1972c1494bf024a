"""Families whose compute multiplier is known, as records, shared by the tests of analysis/compare."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from analysis.compare.comparison import compare
from analysis.compare.family import Family, families_of
from analysis.compare.findings import Comparison
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import CostClock, RunRecord
from tests.analysis.synthetic import record

PER_EPOCH = (1000.0, 1800.0, 3200.0, 5600.0, 10_000.0)
"""Core-hours of an epoch, by size."""
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
RATES = (0.05, 0.1, 0.2)
RESAMPLES = 200


def surface(n: float, d: float) -> float:
    """Returns a loss whose best split is half and half, from sizes and epochs in units of the middle."""
    return 1.0 + 0.7 * n**-0.4 + 0.7 * d**-0.4


def family_records(
    family: str,
    *,
    multiplier: float = 1.0,
    tilt: float = 0.0,
    noise: float = 0.0,
    seeds: int = 1,
    random_seed: int = 0,
    sizes: int = 5,
    rates: Sequence[float] = RATES,
    best_lr: float = 0.1,
    billed: Callable[[float], float] | None = None,
) -> list[RunRecord]:
    """Returns the runs of a family that needs `multiplier` times the compute of the plain one for every loss.

    Args:
        family: its name; the models are called after it.
        multiplier: m.
        tilt: how much log m rises for each factor of e in compute, about 5,600 core-hours.
        noise: relative standard deviation over seeds.
        seeds: of every cell and rate.
        random_seed: of the noise.
        sizes: how many of PER_EPOCH.
        rates: peak learning rates tried.
        best_lr: the best of them, for every cell.
        billed: measured core-hours of a run by its core-hours; without it no run keeps a clock.
    """
    rng = np.random.default_rng(random_seed)
    found: list[RunRecord] = []
    for rank, cost in enumerate(PER_EPOCH[:sizes]):
        for epochs in EPOCHS:
            hours = cost * epochs
            m = multiplier * (hours / 5600.0) ** tilt
            base = surface(cost / 3200.0 / math.sqrt(m), epochs / 1.75 / math.sqrt(m))
            for rate in rates:
                for seed in range(seeds):
                    log_off = 0.02 * math.log2(rate / best_lr) ** 2 + noise * rng.normal()
                    run = record(
                        epochs=epochs, peak_lr=rate, seed=seed, loss=base * math.exp(log_off), core_hours=hours
                    )
                    found.append(of_family(run, family, rank, None if billed is None else billed(hours)))
    return found


@functools.cache
def _shape(rank: int) -> NFNetShape:
    return NFNetShape(
        stage_depths=(1,), stage_widths=(8 + 4 * rank,), stage_strides=(1,), stem_widths=(4,), stem_strides=(2,)
    )


def of_family(run: RunRecord, family: str, rank: int, billed_core_hours: float | None = None) -> RunRecord:
    """Returns a run as one of a family's size."""
    trial = replace(run.trial, model=f"{family}{rank}", family=family, shape=_shape(rank))
    clock = None if billed_core_hours is None else CostClock(step_s=3600.0 * billed_core_hours)
    return replace(run, trial=trial, outcome=run.outcome and replace(run.outcome, clock=clock))


def families(*records: Sequence[RunRecord]) -> tuple[Family, ...]:
    """Returns the families of a study with these runs."""
    return families_of([run for some in records for run in some], study="synthetic", source="study synthetic")


def comparison(*records: Sequence[RunRecord], axis: str = "core_hours", others: bool = False) -> Comparison:
    """Returns the comparison of a study with these runs."""
    return compare(families(*records), axis=axis, others=others, resamples=RESAMPLES)
