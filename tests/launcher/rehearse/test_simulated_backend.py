import dataclasses
import itertools
import time
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.contract.backend import Backend, Ended, Event, Lost, Moved, Paused, Started
from launcher.drive.reconcile import run
from launcher.drive.spending import SpendLedger
from launcher.rehearse.simulated_backend import SimulatedBackend
from launcher.rehearse.simulated_surroundings import surroundings_of
from launcher.rehearse.world import World
from launcher.settings.compose import compose
from launcher.settings.conditions import Conditions
from strategy.field import Field
from sweeps.record import Status
from sweeps.study import Study
from tests.launcher.rehearse.studies import backend_of, drain, tasks_of

ROUGH = Conditions(slots=3, cores_per_run=64, preemptions_per_h=0.03, checkpoint_every_h=2.0)
CALM = Conditions(slots=2, preemptions_per_h=0.0, speed_spread=0.0)
STUDIES = 150


@pytest.fixture(scope="module")
def study() -> Study:
    """The scale model with one seed."""
    return compose(["study=scale_model", "budget=110k", "seeds=1"]).study


@pytest.fixture(scope="module")
def field(study: Study) -> Field:
    """Its cells up to 3k."""
    return Field(study=study, budget_core_hours=3_000.0)


def played(field: Field, seed: int, conditions: Conditions) -> list[tuple[float, Event]]:
    """Returns all that happens when every task is handed in at once."""
    backend: Backend = backend_of(field, seed, conditions)
    for task in tasks_of(field):
        backend.submit([task])
    assert isinstance(backend, SimulatedBackend)
    return drain(backend)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_events_of_a_trial_are_in_order(field: Field, seed: int) -> None:
    """Started, then points of rising steps, then one end; time never goes back, and at most `slots` run at once."""
    events = played(field, seed, ROUGH)
    times = [at_s for at_s, _ in events]
    assert times == sorted(times)
    attempts: dict[str, list[list[Event]]] = defaultdict(list)
    running: set[str] = set()
    for _, event in events:
        trial_id = event.trial_id
        if isinstance(event, Started):
            attempts[trial_id].append([])
            assert trial_id not in running
            running.add(trial_id)
            assert len(running) <= ROUGH.slots
        assert trial_id in running
        attempts[trial_id][-1].append(event)
        if isinstance(event, Ended | Paused | Lost):
            running.remove(trial_id)
    assert not running
    for attempt in itertools.chain.from_iterable(attempts.values()):
        assert isinstance(attempt[0], Started) and isinstance(attempt[-1], Ended | Paused | Lost)
        steps = [event.progress.step for event in attempt if isinstance(event, Moved)]
        assert steps == sorted(set(steps))
        if isinstance(attempt[-1], Ended) and steps:
            assert attempt[-1].outcome.steps >= steps[-1]


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_attempts_go_on_from_the_saved_step(field: Field, seed: int) -> None:
    """Behind a state that was saved nothing is trained again."""
    saved: dict[str, int] = defaultdict(int)
    paused = 0
    for _, event in played(field, seed, ROUGH):
        if isinstance(event, Moved):
            assert event.progress.step > saved[event.trial_id]
        if isinstance(event, Paused):
            paused += 1
            assert event.saved_step >= saved[event.trial_id]
            saved[event.trial_id] = event.saved_step


def test_rough_clusters_interrupt_and_calm_ones_do_not(field: Field) -> None:
    """The tests above meet pauses and deaths; without pre-emptions every trial is one attempt of its own price."""
    kinds = [type(event) for seed in range(3) for _, event in played(field, seed, ROUGH)]
    assert kinds.count(Paused) > 3 and kinds.count(Lost) > 3
    backend = backend_of(field, 0, CALM)
    for task in tasks_of(field):
        backend.submit([task])
    drain(backend)
    records = backend.records()
    assert backend.preemptions == 0 and len(records) == len(tasks_of(field))
    assert {record.attempts for record in records} == {1}
    finished = sum(record.cost.core_hours for record in records if record.status is Status.FINISHED)
    assert backend.trained_core_hours == pytest.approx(finished, rel=1e-3)


def test_a_seed_decides_all(field: Field) -> None:
    """The same seed gives the same events at the same times, another one gives others."""
    one, again, other = (played(field, seed, ROUGH) for seed in (5, 5, 6))
    assert one == again != other


def test_losses_are_the_world_s(field: Field) -> None:
    """A finished run has the loss of its trial, a diverging one none, and no certificate is at fault."""
    backend = backend_of(field, 2, CALM)
    world = World.drawn(field, 2)
    for task in tasks_of(field):
        backend.submit([task])
    drain(backend)
    for record in backend.records():
        truth = world.losses(record.trial)
        assert record.status is (Status.DIVERGED if truth is None else Status.FINISHED)
        assert record.val_loss == (None if truth is None else truth[0])
        assert not record.tainted


def test_handed_in_twice_is_trained_once(field: Field) -> None:
    """What an earlier driver has handed in is underway; the same again is no second job."""
    backend = backend_of(field, 0, CALM)
    task = tasks_of(field)[0]
    backend.submit([task])
    backend.submit([task])
    assert list(backend.underway()) == [task]
    events = [event for _, event in drain(backend)]
    assert sum(isinstance(event, Started) for event in events) == 1
    assert not backend.underway()


def test_stop_leaves_nothing(field: Field) -> None:
    """Queued and running jobs are gone, and no event of them comes."""
    backend = backend_of(field, 0, CALM)
    for task in tasks_of(field)[:6]:
        backend.submit([task])
    while not any(isinstance(event, Moved) for event in backend.poll(1.0)):
        pass
    backend.stop()
    assert not backend.underway() and not list(backend.poll(1.0))


def test_what_happens_unheard_is_in_the_records(field: Field) -> None:
    """While no driver listens, runs go on and end; nobody is told of it later."""
    backend = backend_of(field, 0, CALM)
    for task in tasks_of(field)[:6]:
        backend.submit([task])
    backend.pass_unheard(1e6)
    assert not backend.underway() and not list(backend.poll(1.0))
    assert [record.status.is_final for record in backend.records()] == [True] * 6


def test_a_cancelled_job_is_killed_and_others_go_on(field: Field) -> None:
    """Its run has died without a word, at the step it had come to; its slot is free again."""
    backend = backend_of(field, 0, CALM)
    jobs = [backend.submit([task]) for task in tasks_of(field)[:6]]
    first = tasks_of(field)[0].trial.id
    while not any(isinstance(event, Moved) and event.trial_id == first for event in backend.poll(1.0)):
        pass
    backend.cancel(jobs[0])
    events = [event for _, event in drain(backend)]
    assert first not in {event.trial_id for event in events}
    assert not backend.underway() and sum(record.status.is_final for record in backend.records()) == 5
    record = backend.record(first)
    assert record is not None and record.status is Status.KILLED and record.unseen_steps > 0
    assert 0.0 < record.cost.core_hours * (record.steps_done or 0) / record.trial.steps < backend.trained_core_hours


def test_a_job_begun_again_unasked_says_no_end(field: Field) -> None:
    """Of a trial whose job the cluster begins again, the driver hears two starts in a row."""
    starts: dict[str, int] = defaultdict(int)
    most = 0
    rough = dataclasses.replace(ROUGH, graceful_share=0.0, requeued_share=1.0)
    for _, event in played(field, 1, rough):
        assert not isinstance(event, Lost | Paused)
        starts[event.trial_id] += isinstance(event, Started)
        most = max(most, starts[event.trial_id])
    assert most > 1


class _DriverDiedError(Exception):
    """The driver is gone; the cluster goes on."""


def spend(study: Study, number: int) -> tuple[float, float, float]:
    """Returns cap, what the last ledger counted and what was really trained in one study [core-hours]."""
    rng = np.random.default_rng([number, 77])
    field = Field(study=study, budget_core_hours=float(rng.uniform(500.0, 4_000.0)))
    conditions = Conditions(
        slots=int(rng.integers(1, 5)),
        cores_per_run=64,
        preemptions_per_h=float(10 ** rng.uniform(-3.0, -1.0)),
        graceful_share=float(rng.uniform()),
        requeued_share=float(rng.choice([0.0, 0.5])),
        checkpoint_every_h=float(10 ** rng.uniform(-1.0, 1.5)),
        speed_spread=0.3,
        failures_per_run=float(rng.choice([0.0, 0.1])),
        out_of_memory_per_model=float(rng.choice([0.0, 0.2])),
    )
    backend = backend_of(field, number, conditions)
    tasks = tasks_of(field)
    cap = float(sum(task.cost.core_hours for task in tasks) * rng.uniform(0.05, 1.2))
    for driver in itertools.count():
        records = backend.records()
        ledger = SpendLedger(cap, records)
        settled = {record.trial.id for record in records if record.is_settled}
        packs = [(task,) for task in tasks if task.trial.id not in settled]
        turns = itertools.count(1)
        last = int(rng.integers(1, 60)) if driver < 4 and rng.uniform() < 0.5 else None

        def on_turn(turns: "itertools.count[int]" = turns, last: int | None = last) -> None:
            if next(turns) == last:
                raise _DriverDiedError

        try:
            run(packs, backend, surroundings_of(backend, ledger, [pack[0] for pack in packs], on_turn=on_turn))
        except _DriverDiedError:
            backend.pass_unheard(float(rng.exponential(10.0)))
            continue
        break
    return cap, ledger.spent_core_hours, backend.trained_core_hours


def test_the_cap_holds_whatever_happens(study: Study) -> None:
    """What was really trained is no more than was counted and than the cap, over many studies and dying drivers."""
    found = np.array([spend(study, number) for number in range(STUDIES)])
    cap, counted, trained = found.T * np.array([[1.0 + 1e-9], [1.0 + 1e-9], [1.0]])
    assert (trained <= cap).all() and (counted <= cap * (1.0 + 1e-9)).all()
    assert (trained <= counted).all()
    assert (trained > 0.8 * cap).sum() > STUDIES / 10


def test_a_hundred_runs_never_sleep(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weeks of virtual time pass without a single real wait."""

    def refuse(seconds: float) -> None:
        raise AssertionError(f"a rehearsal slept for {seconds} s")

    monkeypatch.setattr(time, "sleep", refuse)
    field = Field(study=study, budget_core_hours=110_000.0)
    backend = backend_of(field, 0, ROUGH)
    packs = [(task,) for task in tasks_of(field)]
    found = run(packs, backend, surroundings_of(backend, SpendLedger(None), [pack[0] for pack in packs]))
    assert found.finished + found.diverged == len(packs) == 108
    assert backend.clock.monotonic() > 7 * 86_400.0
