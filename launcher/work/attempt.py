"""One attempt at a task: what is written in its journal, what its driver is told, and why it has to end."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from launcher.contract.backend import (
    Ended,
    Event,
    Held,
    Lost,
    Moved,
    Order,
    Paused,
    ShouldStop,
    Started,
    Stop,
    Task,
    TrunkGone,
)
from sweeps.record import Outcome, Progress, Status

if TYPE_CHECKING:
    from tracking.journal import AttemptJournal

Send = Callable[[Event], None]


class Watch:
    """Whether what trains now has to end, and why: asked by somebody, or out of time."""

    def __init__(self, tasks: Iterable[Task], should_stop: ShouldStop) -> None:
        """Begins to count; tasks that are trained together have the time of all of them."""
        self._should_stop = should_stop
        limits = [task.limit_s for task in tasks]
        known = [limit_s for limit_s in limits if limit_s is not None]
        self.limit_s = sum(known) if len(known) == len(limits) else None
        """The limit by the clock [s]; absent: none."""
        self._deadline_s = None if self.limit_s is None else time.monotonic() + self.limit_s
        self.stop: Stop | None = None

    def is_over(self) -> bool:
        """Returns whether to save and end."""
        self.stop = self.stop or self._should_stop()
        return self.stop is not None or self.is_late

    @property
    def is_late(self) -> bool:
        """Whether the attempt is past its limit."""
        return self._deadline_s is not None and time.monotonic() > self._deadline_s


class Attempt:
    """An attempt that is under way; without a journal it is that of a host that does not lead, and says nothing."""

    def __init__(self, task: Task, order: Order, name: str, journal: "AttemptJournal | None", send: Send) -> None:
        self.task = task
        self.last: Progress | None = None
        """The last point of its curve, in this attempt."""
        self._order, self._name, self._journal, self._send = order, name, journal, send

    @property
    def is_told(self) -> bool:
        """Whether this process journals it."""
        return self._journal is not None

    def started(self, *, is_compiling: bool) -> None:
        """Tells that it is under way."""
        print(f"---- {self.task.trial.name} {self.task.trial.id}", file=sys.stderr, flush=True)
        if self.is_told:
            self._send(Started(trial_id=self.task.trial.id, worker=self._name, is_compiling=is_compiling))

    def report(self, progress: Progress) -> None:
        """Journals and tells a point of the curve; raises OSError where the disk is full or gone."""
        self.last = progress
        if self._journal is not None:
            self._journal.progress(progress)
            self._send(Moved(trial_id=self.task.trial.id, progress=progress))

    def judged(self, outcome: Outcome, watch: Watch) -> tuple[Outcome, Lost | Paused | TrunkGone | None]:
        """Returns what is journalled of how it ended, and what to tell where that is not the trial's end."""
        trial_id = self.task.trial.id
        if outcome.status is not Status.KILLED:
            return outcome, None
        if outcome.steps < self.task.shared_steps:
            return outcome, TrunkGone(trial_id=trial_id)
        watch.is_over()  # a signal that reached another host first is here by now
        if watch.stop is Stop.OUTRUN:
            return dataclasses.replace(outcome, status=Status.STOPPED), None
        saved: dict[str, Any] = {"saved_step": outcome.steps, "shared_steps": outcome.shared_steps}
        if watch.stop is Stop.MAKE_ROOM or not watch.is_late:
            return outcome, Paused(trial_id=trial_id, reason=f"{self._name} has to make room", **saved)
        limit = f"{self._name}: past its time limit of {watch.limit_s or 0:g} s"
        return outcome, Lost(trial_id=trial_id, reason=limit, **saved)

    def record(self, outcome: Outcome) -> None:
        """Journals the end; raises OSError where the disk is full or gone."""
        if self._journal is not None:
            self._journal.end(outcome)

    def close(self) -> None:
        """Lets go of the journal; an attempt without an end counts as killed. Harmless when repeated."""
        if self._journal is not None:
            self._journal.close()

    def lost(self, error: Exception) -> None:
        """Tells that nothing can be said in the journal: the disk is full, or gone."""
        self._send(Lost(trial_id=self.task.trial.id, reason=f"{self._name}: {error}"))

    def tell(self, outcome: Outcome, reason: Lost | Paused | TrunkGone | None) -> None:
        """Tells how it ended, once that is in the journal; checkpoints of what is over go."""
        trial_id = self.task.trial.id
        if reason is not None:
            self._send(reason)
            return
        if outcome.status in (Status.FINISHED, Status.DIVERGED, Status.OUT_OF_MEMORY):
            # Only now: a kill before the journal's last line must find it.
            shutil.rmtree(self._order.paths.checkpoint_dir(self._order.study, trial_id), ignore_errors=True)
        self._send(Ended(trial_id=trial_id, outcome=outcome))


def open_attempt(task: Task, order: Order, name: str, send: Send) -> Attempt | None:
    """Returns a new attempt with its journal; None where there is none to be made, which is told."""
    from tracking.journal import JournalHeldError, start_attempt

    try:
        journal = start_attempt(
            order.paths,
            order.study,
            task.trial,
            cost=task.cost,
            budget_core_hours=order.budget_core_hours,
            code_version=order.code_version,
            device=device_name(),
        )
        return Attempt(task, order, name, journal, send)
    except JournalHeldError:
        send(Held(trial_id=task.trial.id))
    except OSError as error:
        send(Lost(trial_id=task.trial.id, reason=f"{name}: its journal cannot be begun ({error})"))
    return None


def device_name() -> str:
    """Returns what trials of this process run on, as JAX names it; `python` where the trainer does not use JAX."""
    jax: Any = sys.modules.get("jax")
    return str(jax.devices()[0].device_kind) if jax is not None else "python"
