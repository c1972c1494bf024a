"""The time left of sweeps whose course is known, at many moments of them."""

import functools
import heapq
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.contract.backend import Ended, Event, Lost, Moved, Started, Task
from launcher.settings.compose import compose
from launcher.show.paces import Foreknowledge, model_of
from launcher.show.timing import ONE_RUN_S, Timing
from sweeps.pricing import price_trial
from sweeps.record import Outcome, Progress, Status

STEP_S = {"f0": 1e-3, "f1": 2e-3, "f3": 3e-3, "f3p": 3e-3, "f7": 4e-3, "f7p": 5e-3}


class Clock:
    """A clock that is moved by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        """Returns the time [s]."""
        return self.now_s


@functools.cache
def tasks_of(*words: str) -> tuple[Task, ...]:
    """Returns the runs of a plan, dearest first."""
    request = compose(list(words))
    return tuple(
        Task(trial=trial, cost=price_trial(trial, request.study.hardware))
        for pack in request.plan().packs()
        for trial in pack.trials
    )


def course_of(task: Task, begin_s: float, worker: str) -> list[tuple[float, Event]]:
    """Returns what a run tells that takes its model's seconds a step and nothing besides."""
    trial, step_s = task.trial, STEP_S[task.trial.model]
    told: list[tuple[float, Event]] = [
        (begin_s, Started(trial_id=trial.id, worker=worker, is_compiling=False)),
    ]
    for step in (trial.steps // 4, trial.steps // 2):
        at = Progress(step=step, images=step, train_loss=1.0, val_loss=None, wall_s=step * step_s)
        told.append((begin_s + step * step_s, Moved(trial_id=trial.id, progress=at)))
    outcome = Outcome(
        status=Status.FINISHED,
        steps=trial.steps,
        val_loss=1.0,
        selection_loss=1.0,
        train_loss=1.0,
        wall_s=trial.steps * step_s,
        compile_s=0.0,
    )
    return [*told, (begin_s + trial.steps * step_s, Ended(trial_id=trial.id, outcome=outcome))]


def sweep_of(tasks: Sequence[Task], workers: int) -> list[tuple[float, Event]]:
    """Returns all events of a sweep whose free workers take the dearest run."""
    free = [(0.0, number) for number in range(workers)]
    events: list[tuple[float, Event]] = []
    for task in tasks:
        begin_s, worker = heapq.heappop(free)
        told = course_of(task, begin_s, f"worker-{worker}")
        events += told
        heapq.heappush(free, (told[-1][0], worker))
    return sorted(events, key=lambda item: item[0])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.floats(0.3, 0.95), st.booleans(), st.integers(1, 2))
def test_time_left_of_a_steady_sweep(workers: int, part: float, is_told: bool, seeds: int) -> None:
    """With the paces known, or learnt from some runs, the end is foreseen to within what a run takes besides."""
    tasks = tasks_of("budget=2k", f"seeds={seeds}")
    clock, owed = Clock(), {task.trial.id: task for task in tasks}
    known = Foreknowledge(
        step_s={model_of(task): STEP_S[task.trial.model] for task in tasks} if is_told else {},
        guess_s=lambda task: STEP_S[task.trial.model] * 1.5,
        compiled=frozenset(model_of(task) for task in tasks),
        cold_compile_s=0.0,
    )
    timing = Timing(known, workers=workers, clock=clock)
    timing.meet(tasks)
    events = sweep_of(tasks, workers)
    end_s = events[-1][0]
    for at_s, event in events:
        if at_s > part * end_s:
            break
        clock.now_s = at_s
        timing.take(event, owed.get(event.trial_id) or next(t for t in tasks if t.trial.id == event.trial_id))
        if isinstance(event, Ended):
            del owed[event.trial_id]
    clock.now_s = part * end_s
    left_s = timing.left_s(owed)
    longest_s = max(STEP_S[task.trial.model] * task.trial.steps for task in tasks)
    assert left_s is not None
    assert left_s == pytest.approx(end_s - clock.now_s, rel=0.15, abs=0.35 * longest_s + 0.5)


def test_a_run_that_died_goes_on_from_where_it_was() -> None:
    """What it has reported is not owed again, and a state that was saved on purpose counts exactly."""
    (task, *_) = tasks_of("budget=2k", "seeds=1")
    clock = Clock()
    known = Foreknowledge(step_s={model_of(task): 0.01}, guess_s=lambda task: 0.01, cold_compile_s=0.0)
    timing, owed = Timing(known, workers=1, clock=clock), {task.trial.id: task}
    whole_s = timing_left(timing, owed, task)
    timing.take(Started(trial_id=task.trial.id, worker="w", is_compiling=False), task)
    timing.take(Lost(trial_id=task.trial.id, reason="killed", saved_step=task.trial.steps // 2), task)
    assert timing_left(timing, owed, task) == pytest.approx((whole_s - ONE_RUN_S) / 2 + ONE_RUN_S, rel=0.01)


def timing_left(timing: Timing, owed: dict[str, Task], task: Task) -> float:
    """Returns the time left, which is known."""
    timing.meet([task])
    left_s = timing.left_s(owed)
    assert left_s is not None
    return left_s


def test_a_cluster_that_makes_runs_wait_is_believed() -> None:
    """Workers nobody has counted, idle for half the time: what is left takes twice as long as its steps."""
    tasks = tasks_of("budget=3k", "seeds=1")
    clock, owed = Clock(), {task.trial.id: task for task in tasks}
    known = Foreknowledge(guess_s=lambda task: STEP_S[task.trial.model])
    timing = Timing(known, workers=None, clock=clock)
    timing.meet(tasks)
    for task in tasks[: len(tasks) // 2]:
        for at_s, event in course_of(task, clock.now_s, "job"):
            clock.now_s = at_s
            timing.take(event, task)
        clock.now_s += task.trial.steps * STEP_S[task.trial.model]  # in the queue
        del owed[task.trial.id]
    left_s = timing.left_s(owed)
    steps_s = sum(task.trial.steps * STEP_S[task.trial.model] for task in owed.values())
    assert left_s == pytest.approx(2.0 * steps_s, rel=0.3)


def test_nothing_is_said_before_anything_is_known() -> None:
    """Neither timed, nor guessed."""
    tasks = tasks_of("budget=2k", "seeds=1")
    timing = Timing(Foreknowledge(), workers=2, clock=Clock())
    timing.meet(tasks)
    assert timing.left_s({task.trial.id: task for task in tasks}) is None
