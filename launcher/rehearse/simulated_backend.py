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
        return f"job-{next(self._count)}"

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns the next events, the clock having moved to them; nothing where nothing runs."""
        while self._events:
            at_s, _, event, run = heapq.heappop(self._events)
            self.clock.advance(at_s)
            if event is None:  # the job has left the queue
                self._start(run)
                continue
            self._note(event, run)
            return (event,)
        return ()

    def cancel(self, job: str) -> None:
        """Drops everything: jobs are not told apart here."""
        self.stop()

    def logs(self, job: str) -> str:
        """Returns nothing: simulated runs print nothing."""
        return ""

    def underway(self) -> Sequence[Task]:
        """Returns what an earlier driver has handed in and that is still queued or runs."""
        return list(self._queued.values())

    def stop(self) -> None:
        """Kills whatever runs, without a word."""
        for run in self._runs.values():
            if run.attempt is not None:
                run.lose(self._conditions.checkpoint_every_h, self.clock.now_s)
        self._waiting.clear()
        self._queued.clear()
        self._events.clear()
        self._free = self._conditions.slots

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
        first = max(run.saved_step, task.shared_steps)
        ending, after_h = self._ending(task, left_h=hours * (1.0 - first / task.trial.steps))
        attempt = Attempt(
            task=task, first_step=first, began_s=self.clock.now_s, hours=hours, ending=ending, ends_after_h=after_h,
            diverges=losses is None,
        )  # fmt: skip
        run.start(attempt)
        self._push(self.clock.now_s, Started(trial_id=task.trial.id, worker="slot", is_compiling=False), run)
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
        return (Ending.PAUSED if self._rng.random() < c.graceful_share else Ending.KILLED), after_h

    def _last_event(self, attempt: Attempt, losses: tuple[float, float] | None) -> Event:
        trial, shared = attempt.task.trial, attempt.task.shared_steps
        outcome = attempt.outcome(losses)
        if outcome is not None:
            return Ended(trial_id=trial.id, outcome=outcome)
        if attempt.ending is Ending.PAUSED:
            return Paused(trial_id=trial.id, reason="pre-empted", saved_step=attempt.last_step, shared_steps=shared)
        return Lost(trial_id=trial.id, reason="pre-empted")

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
                run.lose(self._conditions.checkpoint_every_h, self.clock.now_s)
                self._leave(run)
            case _:
                pass

    def _leave(self, run: SimulatedRun) -> None:
        self._queued.pop(run.task.trial.id, None)
        self._free += 1
        self._fill()
