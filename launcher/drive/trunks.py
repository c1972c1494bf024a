"""Which pending trial goes on from which: a shorter run of the trunk first, a longer one once it has left its state."""

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Container, Sequence

from launcher.contract.backend import Task
from launcher.contract.program import program_of
from sweeps.trunk import latest_start, milestones_in, stable_steps, trunk_of
from tracking.paths import ProjectPaths

Milestones = Callable[[str], Sequence[int]]
"""Trunk -> steps of the states that lie on the disk."""


def milestones_of(paths: ProjectPaths, study: str) -> Milestones:
    """Returns what lies on the disk for a study."""
    return lambda trunk: milestones_in(paths.trunks_dir(study) / trunk)


def with_trunks(packs: Sequence[Sequence[Task]], milestones: Milestones) -> list[tuple[Task, ...]]:
    """Returns the packs with the steps that each task is to take over, and the trial that it waits for.

    Of all states that it may begin at, a task takes the furthest: one on the disk, or one that a pending trial of its
    trunk will leave. It waits for the latter only, and its price is that of the steps from there on.

    Args:
        packs: all that is handed in together.
        milestones: what lies on the disk already.
    """
    pending: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for task in (task for pack in packs for task in pack):
        trunk = trunk_of(task.trial)
        if trunk is not None and (step := stable_steps(task.trial)):
            pending[trunk].append((step, task.trial.id))
    for of_trunk in pending.values():
        of_trunk.sort()
    on_disk = {trunk: sorted(milestones(trunk)) for trunk in pending}

    def chained(task: Task) -> Task:
        trunk, latest = trunk_of(task.trial), latest_start(task.trial)
        if trunk not in pending:
            return task
        there = on_disk[trunk][: bisect.bisect_right(on_disk[trunk], latest)]
        to_come = pending[trunk][: bisect.bisect_left(pending[trunk], (latest + 1, ""))]
        step, after = max([(0, ""), *to_come[-1:]])
        if there and there[-1] >= step:
            step, after = there[-1], ""
        return dataclasses.replace(task, shared_steps=step, after=after or None)

    return [tuple(map(chained, pack)) for pack in packs]


class Chains:
    """The tasks that wait for a shorter run to be settled."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Task]] = defaultdict(list)
        self._freed: list[Task] = []

    def hold(self, tasks: Sequence[Task], owed: Container[str]) -> list[Task]:
        """Returns the tasks that wait for none of the trials that are owed; the others are kept."""
        free: list[Task] = []
        for task in tasks:
            (self._waiting[task.after] if task.after is not None and task.after in owed else free).append(task)
        return free

    def settle(self, trial_id: str, *, has_finished: bool) -> None:
        """Frees what waits for a trial: with the full price where it came to no end and may have left nothing."""
        for task in self._waiting.pop(trial_id, []):
            self._freed.append(task if has_finished else dataclasses.replace(task, shared_steps=0))

    def take_freed(self) -> list[tuple[Task, ...]]:
        """Returns the tasks that were freed since the last call, those of a cell together."""
        cells: defaultdict[tuple[str, int], list[Task]] = defaultdict(list)
        for task in self._freed:
            cells[program_of(task.trial), task.trial.steps].append(task)
        self._freed = []
        return [tuple(tasks) for tasks in cells.values()]
