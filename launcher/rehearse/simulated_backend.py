"""A cluster in virtual time whose trainer has a known law: what a real one would tell its driver, in milliseconds."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task
from launcher.rehearse.simulated_run import Attempt, Ending, SimulatedRun
from launcher.rehearse.virtual_clock import VirtualClock
from launcher.settings.conditions import Conditions
from sweeps.record import RunRecord
from sweeps.trial import Trial

Losses = Callable[[Trial], tuple[float, float] | None]
"""Held-out and selection loss of a trial [nats]; None: it diverges."""


class SimulatedBackend:
    """Runs tasks on virtual slots; what is random depends on the seed alone."""

    def __init__(self, *, losses: Losses, conditions: Conditions, seed: int, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._losses, self._conditions = losses, conditions
        self._rng = np.random.default_rng([seed, 4])
        self._runs: dict[str, SimulatedRun] = {}
        self._waiting: deque[Task] = deque()
        self._queued: dict[str, Task] = {}
        """Handed in and not over."""
        self._free = conditions.slots
        self._events: list[tuple[float, int, Event | None, SimulatedRun]] = []
        self._jobs: dict[str, str] = {}
        """Of each trial, the job that it was last handed in with."""
        self._count = itertools.count()
        self._speeds: dict[str, float] = {}
        self._unfit: dict[str, bool] = {}
        self.preemptions = 0
        """Attempts that were cut short by the cluster."""

    @property
    def silence(self) -> None:
        """Nothing keeps it."""

    @property
    def trained_core_hours(self) -> float:
        """The price of every step that was really trained, repeats and unreported ones included."""
        return sum(run.trained_core_hours for run in self._runs.values())

    @property
    def true_core_hours(self) -> float:
        """What the same steps really took: the price by the factor by which it errs."""
        return sum(run.trained_core_hours * self._speeds.get(run.task.trial.model, 1.0) for run in self._runs.values())

    def submit(self, tasks: Sequence[Task]) -> str:
        """Returns the job's name; its tasks wait in the queue, each for a slot of its own."""
        for task in tasks:
            if task.trial.id in self._queued:
                continue  # an earlier driver has handed it in
            self._runs.setdefault(task.trial.id, SimulatedRun(task=task)).task = task
            self._queued[task.trial.id] = task
            self._waiting.append(task)
        self._fill()
        job = f"job-{next(self._count)}"
        self._jobs.update((task.trial.id, job) for task in tasks)
        return job

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns the next events, the clock having moved to them; nothing where nothing runs."""
        while self._events:
            event = self._next()
            if event is not None:
                return (event,)
        return ()

    def pass_unheard(self, hours: float) -> None:
        """Lets time pass without a driver: what happens is journalled, and no event tells of it later [h]."""
        until_s = self.clock.now_s + 3600.0 * hours
        while self._events and self._events[0][0] <= until_s:
            self._next()
        self.clock.advance(until_s)

    def cancel(self, job: str) -> None:
        """Kills what runs of a job, without a word, and drops the rest of it."""
        for trial_id in [own for own in self._queued if self._jobs[own] == job]:
            self._drop(trial_id)
        self._fill()

    def logs(self, job: str) -> str:
        """Returns nothing: simulated runs print nothing."""
        return ""

    def underway(self) -> Sequence[Task]:
        """Returns what an earlier driver has handed in and that is still queued or runs."""
        return list(self._queued.values())

    def stop(self) -> None:
        """Kills whatever runs, without a word."""
        for trial_id in list(self._queued):
            self._drop(trial_id)

    def close(self) -> None:
        """Lets go; jobs stay."""

    def records(self) -> list[RunRecord]:
        """Returns what the journals would say now."""
        return [record for run in self._runs.values() if (record := run.record()) is not None]

    def record(self, trial_id: str) -> RunRecord | None:
        """Returns what they would say of one trial."""
        run = self._runs.get(trial_id)
        return None if run is None else run.record()

    def saved_mark(self, trial_id: str) -> float:
        """Returns what grows when a trial's checkpoint does."""
        run = self._runs.get(trial_id)
        return 0.0 if run is None else float(run.saved_step)

    def _next(self) -> Event | None:
        """Moves the clock to what happens next; returns what is told of it."""
        at_s, _, event, run = heapq.heappop(self._events)
        self.clock.advance(at_s)
        if event is not None:
            self._note(event, run)
        elif run.attempt is None:  # the job has left the queue
            self._start(run)
        else:  # it died under the run, and goes back to the queue
            self.preemptions += 1
            run.lose(self._conditions.checkpoint_every_h)
            self._push(at_s + 3600.0 * self._wait_h(), None, run)
        return event

    def _drop(self, trial_id: str) -> None:
        """Takes a trial off the cluster, whatever it is at."""
        task = self._queued.pop(trial_id, None)
        if task is None:
            return
        run = self._runs[trial_id]
        if run.attempt is not None:
            run.cut(self._conditions.checkpoint_every_h, self.clock.now_s)
        if task in self._waiting:
            self._waiting.remove(task)
            return
        self._events = [item for item in self._events if item[3] is not run]
        heapq.heapify(self._events)
        self._free += 1

    def _fill(self) -> None:
        """Gives free slots to what waits; a job is in the queue for a while first."""
        while self._free and self._waiting:
            self._free -= 1
            run = self._runs[self._waiting.popleft().trial.id]
            self._push(self.clock.now_s + 3600.0 * self._wait_h(), None, run)

    def _wait_h(self) -> float:
        c = self._conditions
        return float(self._rng.exponential(c.queue_wait_h)) + c.start_up_h

    def _push(self, at_s: float, event: Event | None, run: SimulatedRun) -> None:
        heapq.heappush(self._events, (at_s, next(self._count), event, run))

    def _start(self, run: SimulatedRun) -> None:
        """Begins an attempt and foresees all of its events."""
        task, losses, hours = run.task, self._losses(run.task.trial), self._hours(run.task)
        states = (run.saved_step, run.saved_shared_steps), (task.shared_steps, task.shared_steps)
        first, shared = max(states)
        ending, after_h = self._ending(task, left_h=hours * (1.0 - first / task.trial.steps))
        attempt = Attempt(
            task=task,
            first_step=first,
            shared_steps=shared,
            began_s=self.clock.now_s,
            hours=hours,
            ending=ending,
            ends_after_h=after_h,
            diverges=losses is None,
        )
        run.start(attempt)
        started = Started(trial_id=task.trial.id, worker=f"slot of {task.trial.id}", is_compiling=False)
        self._push(self.clock.now_s, started, run)
        for at_s, progress in attempt.points():
            self._push(at_s, Moved(trial_id=task.trial.id, progress=progress), run)
        self._push(attempt.ends_s, self._last_event(attempt, losses), run)

    def _hours(self, task: Task) -> float:
        """Returns how long the whole trial takes: its price, by a factor that nobody knows beforehand [h]."""
        model = task.trial.model
        if model not in self._speeds:
            self._speeds[model] = math.exp(self._rng.normal(0.0, self._conditions.speed_spread))
        return task.cost.core_hours / self._conditions.cores_per_run * self._speeds[model]

    def _ending(self, task: Task, *, left_h: float) -> tuple[Ending, float]:
        """Returns how the next attempt ends and after how much training, infinite for the trial's own end [h]."""
        c, model = self._conditions, task.trial.model
        if model not in self._unfit:
            self._unfit[model] = bool(self._rng.random() < c.out_of_memory_per_model)
        if self._unfit[model]:
            return Ending.OUT_OF_MEMORY, 0.0
        if self._rng.random() < c.failures_per_run:
            return Ending.FAILED, float(self._rng.uniform(0.0, left_h))
        after_h = float(self._rng.exponential(1.0 / c.preemptions_per_h)) if c.preemptions_per_h > 0.0 else math.inf
        if after_h >= left_h:
            return Ending.DONE, math.inf
        if self._rng.random() < c.graceful_share:
            return Ending.PAUSED, after_h
        is_requeued = c.requeued_share > 0.0 and self._rng.random() < c.requeued_share
        return (Ending.REQUEUED if is_requeued else Ending.KILLED), after_h

    def _last_event(self, attempt: Attempt, losses: tuple[float, float] | None) -> Event | None:
        trial, shared = attempt.task.trial, attempt.shared_steps
        outcome = attempt.outcome(losses)
        if outcome is not None:
            return Ended(trial_id=trial.id, outcome=outcome)
        if attempt.ending is Ending.PAUSED:
            return Paused(trial_id=trial.id, reason="pre-empted", saved_step=attempt.last_step, shared_steps=shared)
        return None if attempt.ending is Ending.REQUEUED else Lost(trial_id=trial.id, reason="pre-empted")

    def _note(self, event: Event, run: SimulatedRun) -> None:
        """Keeps what an event says where the journals would."""
        match event:
            case Moved():
                run.report(event.progress)
            case Ended():
                run.end(event.outcome, self.clock.now_s)
                self._leave(run)
            case Paused():
                self.preemptions += 1
                run.pause(self.clock.now_s)
                self._push(self.clock.now_s + 3600.0 * self._wait_h(), None, run)  # the same job goes on
            case Lost():
                self.preemptions += 1
                run.lose(self._conditions.checkpoint_every_h)
                self._leave(run)
            case _:
                pass

    def _leave(self, run: SimulatedRun) -> None:
        self._queued.pop(run.task.trial.id, None)
        self._free += 1
        self._fill()
