"""Where a sweep stands: runs done, what runs now, core-hours against the plan, and when it will be over."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task, TrunkGone
from launcher.show.calm import Calm
from launcher.show.paces import Foreknowledge
from launcher.show.timing import Timing
from sweeps.record import Progress


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
        known: Foreknowledge | None = None,
        workers: int | None = None,
        is_by_rounds: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins the count of a plan.

        Args:
            pending: what is still to be run of it.
            runs: all runs of the plan, settled ones included.
            core_hours: the price of all of them.
            known: what is known of its time beforehand; None: nothing.
            workers: runs that are trained at the same time; None: as many as are seen.
            is_by_rounds: whether more is added when it is done, nobody knows how much.
            clock: [s].
        """
        self._tasks = {task.trial.id: task for task in pending}
        self._owed = dict(self._tasks)
        self._timing = Timing(known or Foreknowledge(), workers=workers, clock=clock)
        self._timing.meet(self._tasks.values())
        self._calm = Calm(clock)
        self._lock = threading.Lock()  # a display asks from a thread of its own
        self.is_by_rounds = is_by_rounds
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
            with self._lock:
                self._timing.meet((task,))
        self._calm.forget()

    def retell(self, tasks: Iterable[Task]) -> None:
        """Takes what is pending as it is handed in: which steps it takes over, and what it waits for."""
        told = {task.trial.id: task for task in tasks}
        self._tasks.update(told)
        self._owed.update((trial_id, task) for trial_id, task in told.items() if trial_id in self._owed)

    def task(self, trial_id: str) -> Task:
        """Returns the task of a pending trial."""
        return self._tasks[trial_id]

    def take(self, event: Event) -> None:
        """Counts what an event says."""
        match event:
            case Started():
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
                if isinstance(event, TrunkGone):
                    self.retell((replace(self._tasks[event.trial_id], shared_steps=0, after=None),))
            case _:
                return
        with self._lock:
            self._timing.take(event, self._tasks[event.trial_id])

    def settle(self, trial_id: str) -> None:
        """Counts a trial as done."""
        self._owed.pop(trial_id, None)

    def owe_again(self, trial_id: str) -> None:
        """Counts a trial that was given up as still to be run."""
        self._owed[trial_id] = self._tasks[trial_id]
        self._calm.forget()

    def eta_s(self) -> float | None:
        """Returns the seconds left, of a strategy by rounds those of the round; None where nothing is known yet."""
        with self._lock:
            return self._calm.shown_s(lambda: self._timing.left_s(dict(self._owed)))

    def _running_core_hours(self) -> float:
        return sum(running.task.cost.core_hours * running.fraction for running in list(self.running.values()))

    def _remaining_core_hours(self) -> float:
        return sum(task.cost.core_hours for task in list(self._owed.values())) - self._running_core_hours()
