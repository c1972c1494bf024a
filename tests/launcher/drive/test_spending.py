"""The ledger of SPEND: what is promised plus what is used never passes the cap."""

import dataclasses
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.contract.backend import Ended, Lost, Moved, Paused, Started, Task, TrunkGone
from launcher.drive.spending import SpendLedger
from sweeps.curve import next_report
from sweeps.record import Outcome, Progress, RunRecord, Status

MakeTasks = Callable[..., tuple[Task, ...]]


def outcome(status: Status, steps: int) -> Outcome:
    """Returns an outcome without a loss."""
    return Outcome(
        status=status, steps=steps, val_loss=None, selection_loss=None, train_loss=None, wall_s=1.0, compile_s=0.0
    )


def started(task: Task) -> Started:
    """Returns the start of an attempt."""
    return Started(trial_id=task.trial.id, worker="w", is_compiling=False)


def moved(task: Task, step: int, *, shared: int = 0) -> Moved:
    """Returns a point of the curve."""
    progress = Progress(step=step, images=step, train_loss=1.0, val_loss=None, wall_s=1.0, shared_steps=shared)
    return Moved(trial_id=task.trial.id, progress=progress)


def record(
    task: Task, status: Status, *, steps: int, has_outcome: bool, repeated: int = 0, shared: int = 0
) -> RunRecord:
    """Returns what is recorded of a trial that has come so far."""
    points = (moved(task, steps, shared=shared).progress,)
    return RunRecord(
        trial=task.trial,
        cost=task.cost,
        budget_core_hours=None,
        status=status,
        outcome=dataclasses.replace(outcome(status, steps), shared_steps=shared) if has_outcome else None,
        curve=points,
        attempts=1,
        code_version="test",
        device="cpu",
        started_unix_s=0.0,
        ended_unix_s=None,
        repeated_steps=repeated,
    )


def test_what_is_reserved_is_settled_at_the_price_of_its_steps(make_tasks: MakeTasks) -> None:
    """A finished trial costs what was promised, a diverged one its steps."""
    one, other = make_tasks(seeds=2)
    price, ledger = one.cost.core_hours, SpendLedger(2.0 * one.cost.core_hours)
    assert ledger.reserve((one, other)) and ledger.reserved_core_hours == pytest.approx(2.0 * price)
    ledger.take(started(one), one)
    ledger.take(Ended(trial_id=one.trial.id, outcome=outcome(Status.FINISHED, one.trial.steps)), one)
    assert (ledger.spent_core_hours, ledger.reserved_core_hours) == pytest.approx((price, price))
    ledger.take(started(other), other)
    ledger.take(Ended(trial_id=other.trial.id, outcome=outcome(Status.DIVERGED, 2)), other)
    assert ledger.spent_core_hours == pytest.approx(price * (1.0 + 2 / other.trial.steps))
    assert ledger.reserved_core_hours == 0.0


def test_what_the_cap_does_not_hold_is_refused(make_tasks: MakeTasks) -> None:
    """The third of three trials does not fit under a cap of two; what runs already is counted all the same."""
    tasks = make_tasks(seeds=3)
    ledger = SpendLedger(2.0 * tasks[0].cost.core_hours)
    assert [ledger.reserve((task,)) for task in tasks] == [True, True, False]
    assert ledger.reserve(tasks[2:], is_underway=True)
    ledger.release(tasks[2].trial.id)
    ledger.release(tasks[0].trial.id)
    assert ledger.reserve(tasks[2:])


def test_repeated_work_is_paid_for(make_tasks: MakeTasks) -> None:
    """A trial that was killed half-way and begins again is promised its full price, which a tight cap does not hold."""
    (task,) = make_tasks()
    ledger = SpendLedger(1.4 * task.cost.core_hours)
    assert ledger.reserve((task,))
    ledger.take(started(task), task)
    ledger.take(moved(task, task.trial.steps // 2), task)
    ledger.take(Lost(trial_id=task.trial.id, reason="killed"), task)
    # It may have come as far as its next report before it died.
    unseen = next_report(task.trial.steps // 2, task.trial.steps) / task.trial.steps
    assert ledger.spent_core_hours == pytest.approx(unseen * task.cost.core_hours)
    assert not ledger.reserve((task,))


def test_what_was_saved_is_not_paid_twice(make_tasks: MakeTasks) -> None:
    """A trial that saved before it made room is owed the rest only, in this command and in the next."""
    (task,) = make_tasks()
    half = task.trial.steps // 2
    ledger = SpendLedger(task.cost.core_hours)
    assert ledger.reserve((task,))
    ledger.take(started(task), task)
    ledger.take(moved(task, half), task)
    ledger.take(Paused(trial_id=task.trial.id, reason="room"), task)
    assert ledger.spent_core_hours + ledger.reserved_core_hours == pytest.approx(task.cost.core_hours)
    again = SpendLedger(task.cost.core_hours, [record(task, Status.KILLED, steps=half, has_outcome=True)])
    assert again.reserve((task,))
    killed = SpendLedger(task.cost.core_hours, [record(task, Status.KILLED, steps=half, has_outcome=False)])
    assert not killed.reserve((task,))


def test_what_runs_since_an_earlier_command_is_promised_once(make_tasks: MakeTasks) -> None:
    """A cap of exactly the plan's price holds the plan also when half of it runs already, and ends at that price."""
    one, other = make_tasks(seeds=2)
    price, half = one.cost.core_hours, one.trial.steps // 2
    ledger = SpendLedger(2.0 * price, [record(one, Status.RUNNING, steps=half, has_outcome=False)])
    assert ledger.reserve((one,), is_underway=True)
    assert ledger.reserve((one,)) and ledger.reserve((other,))
    for task, steps in ((one, one.trial.steps), (other, other.trial.steps)):
        ledger.take(moved(task, steps), task)
        ledger.take(Ended(trial_id=task.trial.id, outcome=outcome(Status.FINISHED, steps)), task)
    assert ledger.spent_core_hours == pytest.approx(2.0 * price) and ledger.reserved_core_hours == 0.0


def test_records_begin_the_ledger(make_tasks: MakeTasks) -> None:
    """What earlier commands used is in the records, what they repeated included."""
    (task,) = make_tasks()
    steps = task.trial.steps
    ledger = SpendLedger(None, [record(task, Status.FINISHED, steps=steps, has_outcome=True, repeated=steps // 4)])
    assert ledger.spent_core_hours == pytest.approx(1.25 * task.cost.core_hours)


def test_steps_taken_over_are_neither_promised_nor_used(make_tasks: MakeTasks) -> None:
    """Of a task that goes on from half of its steps the other half is promised, through a pause and a loss too."""
    (task,) = make_tasks()
    steps, price = task.trial.steps, task.cost.core_hours
    half, quarter = steps // 2, steps // 4
    task = dataclasses.replace(task, shared_steps=half)
    ledger = SpendLedger(0.5 * price)
    assert ledger.reserve((task,)) and ledger.reserved_core_hours == pytest.approx(0.5 * price)
    ledger.take(started(task), task)
    ledger.take(moved(task, half + quarter, shared=half), task)
    ledger.take(Paused(trial_id=task.trial.id, reason="room", saved_step=half + quarter, shared_steps=half), task)
    assert (ledger.spent_core_hours, ledger.reserved_core_hours) == pytest.approx((0.25 * price, 0.25 * price))
    ledger.take(started(task), task)
    ledger.take(Lost(trial_id=task.trial.id, reason="late", saved_step=steps - 1, shared_steps=half), task)
    assert ledger.reserve((task,)) and ledger.reserved_core_hours == pytest.approx(price / steps)
    ledger.take(started(task), task)
    ended = dataclasses.replace(outcome(Status.FINISHED, steps), shared_steps=half)
    ledger.take(Ended(trial_id=task.trial.id, outcome=ended), task)
    assert ledger.spent_core_hours <= 0.5 * price * (1 + 1e-9)


def test_a_refused_task_has_used_nothing(make_tasks: MakeTasks) -> None:
    """And what is promised to it next is the full price."""
    (task,) = make_tasks()
    expecting = dataclasses.replace(task, shared_steps=task.trial.steps // 2)
    ledger = SpendLedger(task.cost.core_hours)
    assert ledger.reserve((expecting,))
    ledger.take(started(expecting), expecting)
    ledger.take(TrunkGone(trial_id=task.trial.id), expecting)
    assert (ledger.spent_core_hours, ledger.reserved_core_hours) == (0.0, 0.0)
    assert ledger.reserve((task,)) and ledger.reserved_core_hours == pytest.approx(task.cost.core_hours)


def test_records_know_what_was_taken_over(make_tasks: MakeTasks) -> None:
    """Earlier commands have used the steps that they trained, and a run goes on where its last attempt has saved."""
    (task,) = make_tasks()
    steps, price = task.trial.steps, task.cost.core_hours
    known = record(task, Status.KILLED, steps=3 * steps // 4, has_outcome=True, shared=steps // 2)
    ledger = SpendLedger(None, [known])
    assert ledger.spent_core_hours == pytest.approx(0.25 * price)
    assert ledger.reserve((task,)) and ledger.reserved_core_hours == pytest.approx(0.25 * price)


@given(seed=st.integers(0, 10_000), cap=st.floats(0.3, 6.0))
def test_never_above_the_cap(seed: int, cap: float) -> None:
    """Whatever happens to trials, spent plus reserved stays below the cap at every moment."""
    from small_study import make_study

    from sweeps.grid import Grid
    from sweeps.pricing import price_trial

    rng = random.Random(seed)
    study = make_study("steady", seeds=4)
    grid = Grid(study=study)
    tasks = [Task(trial=grid.trial(n), cost=price_trial(grid.trial(n), study.hardware)) for n in range(len(grid))]
    limit = cap * tasks[0].cost.core_hours
    ledger = SpendLedger(limit)
    running: dict[str, int] = {}
    for _ in range(40):
        task = rng.choice(tasks)
        trial_id = task.trial.id
        if trial_id not in running:
            if ledger.reserve((task,)):
                running[trial_id] = 0
                ledger.take(started(task), task)
            continue
        what = rng.choice(("move", "lose", "end", "pause"))
        if what == "move":
            running[trial_id] = min(task.trial.steps, running[trial_id] + rng.randint(1, 3))
            ledger.take(moved(task, running[trial_id]), task)
        elif what == "lose":
            ledger.take(Lost(trial_id=trial_id, reason="killed"), task)
            del running[trial_id]
        elif what == "end":
            steps = max(1, running.pop(trial_id))
            ledger.take(Ended(trial_id=trial_id, outcome=outcome(Status.DIVERGED, steps)), task)
        else:
            ledger.take(Paused(trial_id=trial_id, reason="room"), task)
            ledger.take(started(task), task)
        assert ledger.spent_core_hours + ledger.reserved_core_hours <= limit * (1.0 + 1e-6)


def test_a_job_that_is_begun_again_unasked_is_counted_and_promised_anew(make_tasks: MakeTasks) -> None:
    """A second start without an end between: the first attempt died, and its trial may have to be trained afresh."""
    (task,) = make_tasks()
    steps, price = task.trial.steps, task.cost.core_hours
    ledger = SpendLedger(1.9 * price)
    assert ledger.reserve((task,))
    ledger.take(started(task), task)
    ledger.take(moved(task, steps // 2), task)
    ledger.take(started(task), task)
    assert ledger.spent_core_hours == pytest.approx(price * next_report(steps // 2, steps) / steps)
    assert ledger.reserved_core_hours == pytest.approx(price) and not ledger.is_short(task.trial.id)
    ledger.take(started(task), task)
    assert ledger.is_short(task.trial.id)
    assert ledger.spent_core_hours + ledger.reserved_core_hours == pytest.approx(1.9 * price)
    ledger.release(task.trial.id)
    assert not ledger.is_short(task.trial.id) and ledger.reserved_core_hours == 0.0


def test_what_runs_beyond_the_cap_is_short(make_tasks: MakeTasks) -> None:
    """Of what an earlier driver has handed in, the cap may not hold all: its promise is what is left."""
    tasks = make_tasks(seeds=2)
    price, ledger = tasks[0].cost.core_hours, SpendLedger(1.5 * tasks[0].cost.core_hours)
    assert ledger.reserve(tasks, is_underway=True)
    assert [ledger.is_short(task.trial.id) for task in tasks] == [False, True]
    assert ledger.reserved_core_hours == pytest.approx(1.5 * price)
    assert ledger.reserve(tasks[1:])


def test_a_pause_forgets_what_was_told_before_it(make_tasks: MakeTasks) -> None:
    """A job that is taken out of the queue while it waits to go on has trained nothing since."""
    (task,) = make_tasks()
    ledger = SpendLedger(None)
    assert ledger.reserve((task,))
    ledger.take(started(task), task)
    ledger.take(moved(task, 2), task)
    ledger.take(Paused(trial_id=task.trial.id, reason="room", saved_step=3), task)
    ledger.take(Lost(trial_id=task.trial.id, reason="cancelled"), task)
    assert ledger.spent_core_hours == pytest.approx(task.cost.core_hours * 3 / task.trial.steps)
