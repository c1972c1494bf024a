"""Where a sweep stands: runs done, what runs now, core-hours against the plan, and when it will be over."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task, TrunkGone
from sweeps.record import Outcome, Progress


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that runs now."""

    task: Task
    worker: str
    is_compiling: bool
    """Whether its program is being compiled: until the first report, where the worker meets the program newly."""
    last: Progress | None = None

    @property
    def fraction(self) -> float:
        """Steps done over all steps."""
        return self.last.step / self.task.trial.steps if self.last else 0.0


class Tally:
    """Counts events; every figure that a progress display shows comes from here."""

    def __init__(
        self,
        *,
        pending: Iterable[Task],
        runs: int,
        core_hours: float,
        expected_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins the count of a plan.

        Args:
            pending: what is still to be run of it.
            runs: all runs of the plan, settled ones included.
            core_hours: the price of all of them.
            expected_s: how long what is pending should take; None: unknown.
        """
        self._tasks = {task.trial.id: task for task in pending}
        self._owed = dict(self._tasks)
        self._clock, self._expected_s = clock, expected_s
        self._started_s: float | None = None
        self._measured_core_hours = 0.0
        self.runs, self.core_hours = runs, core_hours
        self.running: dict[str, Running] = {}

    @property
    def done(self) -> int:
        """Runs of the plan that are settled."""
        return self.runs - len(self._owed)

    @property
    def spent_core_hours(self) -> float:
        """The price of all settled runs, and of the running ones as far as they have got."""
        spent = self.core_hours - self._remaining_core_hours()
        return spent if spent > 1e-9 * self.core_hours else 0.0  # sums of many prices round

    def add(self, tasks: Iterable[Task]) -> None:
        """Counts further trials as still to be run."""
        for task in tasks:
            self._tasks[task.trial.id] = self._owed[task.trial.id] = task
            self.runs += 1
            self.core_hours += task.cost.core_hours
        self._expected_s = None

    def task(self, trial_id: str) -> Task:
        """Returns the task of a pending trial."""
        return self._tasks[trial_id]

    def take(self, event: Event) -> None:
        """Counts what an event says."""
        match event:
            case Started():
                self._started_s = self._clock() if self._started_s is None else self._started_s
                self.running[event.trial_id] = Running(
                    task=self._tasks[event.trial_id], worker=event.worker, is_compiling=event.is_compiling
                )
            case Moved():
                before = self.running.get(event.trial_id)
                self.running[event.trial_id] = Running(
                    task=self._tasks[event.trial_id],
                    worker=before.worker if before else "",
                    is_compiling=False,
                    last=event.progress,
                )
            case Ended() | Lost() | Paused() | TrunkGone():
                self.running.pop(event.trial_id, None)
            case _:
                pass

    def settle(self, trial_id: str, outcome: Outcome | None) -> None:
        """Counts a trial as done; its outcome is missing where another process ran it."""
        task = self._owed.pop(trial_id, None)
        if task is not None and outcome is not None:
            self._measured_core_hours += task.cost.core_hours

    def owe_again(self, trial_id: str) -> None:
        """Counts a trial that was given up as still to be run."""
        self._owed[trial_id] = self._tasks[trial_id]

    def eta_s(self) -> float | None:
        """Returns the seconds left: predicted core-hours left over those done per second; before that, as expected."""
        if self._started_s is None:
            return self._expected_s
        done = self._measured_core_hours + self._running_core_hours()
        elapsed_s = self._clock() - self._started_s
        if done <= 0.0 or elapsed_s <= 0.0:
            return self._expected_s
        return self._remaining_core_hours() * elapsed_s / done

    def _running_core_hours(self) -> float:
        return sum(running.task.cost.core_hours * running.fraction for running in list(self.running.values()))

    def _remaining_core_hours(self) -> float:
        return sum(task.cost.core_hours for task in list(self._owed.values())) - self._running_core_hours()
