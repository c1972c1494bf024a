import dataclasses
import heapq
from collections.abc import Callable

import pytest

from launcher.contract.backend import Task
from launcher.contract.program import program_of
from launcher.on_this_machine.dispatch import PACK_FROM_S, Queued, choose, packs_among, split_for
from sweeps.cost import Cost

COLD_S, CACHED_S, CHEAPEST_S = 10.0, 2.0, 0.5
"""Measured on the scale model: compilation, a load from the cache, and the run that costs 0.4k core-hours."""
CORE_HOURS_PER_EPOCH = {"f0": 1.6e3, "f1": 2.7e3, "f3": 4.8e3, "f3p": 7.0e3, "f7": 9.6e3, "f7p": 13.3e3}
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

MakeTasks = Callable[..., tuple[Task, ...]]


def queued(task: Task, program: str, core_hours: float) -> Queued:
    """Returns a waiting task of this program and price."""
    cost = Cost(flops=core_hours, core_hours=core_hours, wall_hours=None, relative_spread=0.0)
    return Queued(tasks=(Task(trial=task.trial, cost=cost),), job="job", program=program)


def grid(task: Task, budget_core_hours: float) -> list[Queued]:
    """Returns the scale model's sweep of this budget, three learning rates a cell."""
    cells = [(model, rate * epochs) for model, rate in CORE_HOURS_PER_EPOCH.items() for epochs in EPOCHS]
    return [queued(task, model, core_hours) for model, core_hours in cells if core_hours <= budget_core_hours] * 3


def simulate(waiting: list[Queued], workers: int) -> tuple[float, float]:
    """Returns when the last worker ends, and the earliest that any order could end [s]."""
    seconds = [item.core_hours / 400.0 * CHEAPEST_S for item in waiting]
    programs = len({item.program for item in waiting})
    bound_s = max((sum(seconds) + COLD_S * programs) / workers, max(seconds) + COLD_S)
    in_cache_s: dict[str, float] = {}
    warm: list[set[str]] = [set() for _ in range(workers)]
    free = [(0.0, worker) for worker in range(workers)]
    while waiting:
        now_s, worker = heapq.heappop(free)
        compiling = {program for program, ready_s in in_cache_s.items() if ready_s > now_s}
        place = choose(waiting, warm=warm[worker], compiling=compiling)
        assert place is not None
        item = waiting.pop(place)
        prepare_s = 0.0
        if item.program not in warm[worker]:
            prepare_s = CACHED_S if in_cache_s.get(item.program, now_s + 1) <= now_s else COLD_S
            in_cache_s.setdefault(item.program, now_s + prepare_s)
            warm[worker].add(item.program)
        heapq.heappush(free, (now_s + prepare_s + item.core_hours / 400.0 * CHEAPEST_S, worker))
    return max(end_s for end_s, _ in free), bound_s


@pytest.mark.parametrize("budget_core_hours", [10e3, 25e3, 110e3])
@pytest.mark.parametrize(("workers", "excess"), [(1, 1.001), (2, 1.06), (4, 1.06), (8, 1.16)])
def test_workers_end_together(make_tasks: MakeTasks, budget_core_hours: float, workers: int, excess: float) -> None:
    """The rule's sweep ends within a few per cent of what no order can beat; one worker never compiles twice."""
    ended_s, bound_s = simulate(grid(make_tasks()[0], budget_core_hours), workers)
    assert ended_s <= excess * bound_s


def test_nothing_waits(make_tasks: MakeTasks) -> None:
    """An empty queue gives no task."""
    assert choose([], warm=(), compiling=()) is None


@pytest.mark.parametrize(
    ("warm", "compiling", "expected"),
    [
        ((), (), "long"),
        (("middle",), (), "middle"),
        (("short",), (), "long"),
        ((), ("long",), "middle"),
        ((), ("long", "middle", "short"), "long"),
        (("long",), ("long",), "long"),
    ],
)
def test_choice(make_tasks: MakeTasks, warm: tuple[str, ...], compiling: tuple[str, ...], expected: str) -> None:
    """The longest runs first; a warm program wins up to twice its length; what another compiles comes last."""
    lengths = {"short": 1.0, "middle": 6.0, "long": 10.0}
    waiting = [queued(make_tasks()[0], program, length) for program, length in lengths.items()]
    place = choose(waiting, warm=warm, compiling=compiling)
    assert place is not None and waiting[place].program == expected


def test_program_leaves_out_what_is_traced(make_tasks: MakeTasks) -> None:
    """Seed and horizon do not change the program; the model's name stands for nothing but itself."""
    first, second = (task.trial for task in make_tasks(seeds=2))
    (longer,) = make_tasks(epochs=2.0)
    assert program_of(first) == program_of(second) == program_of(longer.trial)
    assert program_of(first) != program_of(make_tasks("other")[0].trial)


def timed(tasks: tuple[Task, ...], wall_s: float | None) -> list[Task]:
    """Returns the tasks with a predicted time."""
    hours = None if wall_s is None else wall_s / 3600.0
    return [dataclasses.replace(task, cost=dataclasses.replace(task.cost, wall_hours=hours)) for task in tasks]


@pytest.mark.parametrize(
    ("packing", "is_on_cpu", "wall_s", "sizes"),
    [
        ("separate", False, 1e6, [1, 1, 1]),
        ("vmap", True, None, [3]),
        ("scan", True, 0.1, [3]),
        ("auto", False, None, [3]),
        ("auto", True, None, [1, 1, 1]),
        ("auto", True, 0.3 * PACK_FROM_S, [1, 1, 1]),
        ("auto", True, 0.4 * PACK_FROM_S, [3]),
    ],
)
def test_packs_are_handed_out_where_they_are_asked_for_or_long(
    make_tasks: MakeTasks, packing: str, is_on_cpu: bool, wall_s: float | None, sizes: list[int]
) -> None:
    """On processor cores auto keeps short tasks, and those of unknown length, single."""
    found = packs_among(timed(make_tasks(seeds=3), wall_s), packing=packing, is_on_cpu=is_on_cpu)
    assert [len(pack) for pack in found] == sizes


def test_lengths_are_not_mixed(make_tasks: MakeTasks) -> None:
    """Tasks of another number of steps make a pack of their own."""
    tasks = (*make_tasks(seeds=2), *make_tasks(seeds=3, epochs=2.0))
    found = packs_among(tasks, packing="vmap", is_on_cpu=True)
    assert [len(pack) for pack in found] == [2, 3] and sum(found, ()) == tasks


@pytest.mark.parametrize(("idle", "sizes"), [(0, [3, 2]), (2, [3, 2]), (3, [2, 1, 1, 1]), (5, [1] * 5), (9, [1] * 5)])
def test_packs_are_split_for_idle_workers(make_tasks: MakeTasks, idle: int, sizes: list[int]) -> None:
    """The longest first, and only while workers would go without; no task is lost."""
    packs = (make_tasks(seeds=3, epochs=2.0), make_tasks(seeds=2))
    waiting = [Queued(tasks=pack, job="job", program="tiny") for pack in packs]
    left = split_for(waiting, idle)
    assert [len(queued.tasks) for queued in left] == sizes
    assert {task.trial.id for queued in left for task in queued.tasks} == {task.trial.id for task in sum(packs, ())}
