"""Trunks: the steps that runs of different lengths have in common, which one of them trains for all.

With the schedules wsd and constant, the learning rate before the cool-down does not depend on a run's length. Runs that
differ in their length alone then take the very same steps, up to where the shorter one's cool-down begins. There it
leaves its whole state, a milestone, and the longer one goes on from it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeps.canonical import short_hash
from sweeps.trial import ScheduleSpec, Trial

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LATEST_START = 0.7
"""No run begins behind this part of its steps: its final training loss is the mean over those from 1 / sqrt 2 on."""
_SHARING = ("wsd", "constant")


def stable_steps(trial: Trial) -> int:
    """Returns how many steps a run takes before its cool-down, where it leaves its milestone; 0: it shares none."""
    if not shares_steps(trial.schedule, trial.program):
        return 0
    return int(stable_part(trial.schedule, np.array(trial.steps)))


def latest_start(trial: Trial) -> int:
    """Returns the last step at which a run may take over a milestone and still end as if it had begun at 0."""
    if not shares_steps(trial.schedule, trial.program):
        return 0
    return int(last_entry(trial.schedule, np.array(trial.steps)))


def trunk_of(trial: Trial) -> str | None:
    """Returns what runs that share steps have in common, sixteen hexadecimal digits; None: it shares none.

    That is everything but the length. The warm-up is part of it, since it is cut in a very short run.
    """
    if not shares_steps(trial.schedule, trial.program):
        return None
    same = dataclasses.replace(trial, epochs=1.0)
    return short_hash((same, trial.schedule.warmup_of(trial.steps)))


def shared_steps(trials: Sequence[Trial]) -> list[int]:
    """Returns how many steps each trial takes over where all of them are run, the shorter ones first."""
    if not trials:
        return []
    names = [trunk_of(trial) or f"alone {trial.id}" for trial in trials]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    trunk = np.array([numbers[name] for name in names], dtype=np.int64)
    stable = np.array([stable_steps(trial) for trial in trials], dtype=np.int64)
    latest = np.array([latest_start(trial) for trial in trials], dtype=np.int64)
    before = predecessors(trunk, stable, latest)
    return [int(stable[place]) if place >= 0 else 0 for place in before]


def trained_steps(trials: Sequence[Trial]) -> int:
    """Returns the steps that all trials together cost where longer ones take over what shorter ones have done."""
    return sum(trial.steps for trial in trials) - sum(shared_steps(trials))


def milestones_in(folder: Path) -> list[int]:
    """Returns the steps of the milestones in the folder of a trunk, ascending: each is a folder of that name."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def shares_steps(schedule: ScheduleSpec, program: str | None) -> bool:
    """Returns whether runs of several lengths share steps; a user's own program leaves no milestones."""
    return schedule.name in _SHARING and program is None


def stable_part(schedule: ScheduleSpec, steps: Ints) -> Ints:
    """Returns the steps before the cool-down of runs of so many steps; all of them where the rate never falls."""
    if schedule.name == "constant":
        return steps
    return np.maximum(0, np.floor((1.0 - schedule.cooldown_fraction) * steps)).astype(np.int64)


def last_entry(schedule: ScheduleSpec, steps: Ints) -> Ints:
    """Returns the last step at which runs of so many steps may take over a milestone, before their own."""
    return np.maximum(0, np.minimum(stable_part(schedule, steps) - 1, np.floor(LATEST_START * steps).astype(np.int64)))


def predecessors(trunk: Ints, stable: Ints, latest: Ints) -> Ints:
    """Returns the place of the run whose milestone each run takes over; -1 where there is none.

    It is the furthest one of the same trunk that the run may begin at.

    Args:
        trunk: a number of the trunk of each run, (n,).
        stable: where it leaves its milestone, (n,) [steps].
        latest: the last step at which it may take one over, (n,) [steps]; less than `stable`, or 0.
    """
    order = np.lexsort((stable, trunk))
    stride = int(stable.max(initial=0)) + 1
    rank = np.cumsum(np.diff(trunk[order], prepend=trunk[order[:1]]) != 0)
    found = np.searchsorted(rank * stride + stable[order], rank * stride + latest[order], side="right") - 1
    place = order[np.maximum(found, 0)]
    is_one = (found >= 0) & (rank[np.maximum(found, 0)] == rank) & (stable[place] > 0)
    before = np.empty(len(order), dtype=np.int64)
    before[order] = np.where(is_one, place, -1)
    return before
