"""SPEND as a ledger: core-hours are reserved before a trial is handed in, and settled when its attempt ends."""

from collections.abc import Iterable, Sequence

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task, TrunkGone
from sweeps.record import RunRecord, Status


class SpendLedger:
    """What a study has used and what is promised to trials that are queued or run; together never above the cap.

    Used is the price of the steps that were trained, repeats included as far as they were reported. A trial that was
    interrupted without saving is promised its full price again, since nobody knows yet where it will resume. Steps that
    a task takes over from a shorter run are neither promised nor used: it is not trained where it finds fewer.
    """

    def __init__(self, cap_core_hours: float | None, records: Iterable[RunRecord] = ()) -> None:
        """Begins with what the records of the study say.

        Args:
            cap_core_hours: the hard cap; None: the ledger only counts.
            records: all of the study, with their curves: an unfinished run has used what its last point says.
        """
        self.cap_core_hours = cap_core_hours
        self.spent_core_hours = 0.0
        self._saved_steps: dict[str, int] = {}
        """Where a trial goes on."""
        self._paid_steps: dict[str, int] = {}
        """Those of them that were not taken over."""
        self._reserved: dict[str, float] = {}
        self._first_step: dict[str, int] = {}
        self._last_step: dict[str, int] = {}
        """Steps of the attempt at hand, without those taken over, at its start and now."""
        for record in records:
            self.spent_core_hours += used_core_hours(record)
            has_saved = record.status in (Status.KILLED, Status.STOPPED) and record.outcome is not None
            if has_saved or record.status is Status.RUNNING:
                # It saved when it was asked to stop, or is further by now.
                saved = record.outcome.steps if has_saved and record.outcome else record.steps_done or 0
                self._save(record.trial.id, saved, record.shared_steps)

    @property
    def reserved_core_hours(self) -> float:
        """What is promised and not yet settled."""
        return sum(self._reserved.values())

    def reserve(self, tasks: Sequence[Task], *, is_underway: bool = False) -> bool:
        """Returns whether the tasks may be handed in, and promises their price if so.

        Args:
            tasks: trials that no reservation is held for.
            is_underway: they run already, for an earlier driver promised them their price: refusing would save nothing.
        """
        prices = {task.trial.id: self._owed(task) for task in tasks if task.trial.id not in self._reserved}
        if not prices:
            return True  # promised already: it is queued or runs since an earlier command
        if self.cap_core_hours is not None and not is_underway:
            total = self.spent_core_hours + self.reserved_core_hours + sum(prices.values())
            # Sums of thousands of prices round: one part in a billion is no overdraft.
            if total > self.cap_core_hours * (1.0 + 1e-9):
                return False
        self._reserved.update(prices)
        return True

    def take(self, event: Event, task: Task) -> None:
        """Settles what an event of a task's attempt says was used."""
        trial_id = task.trial.id
        match event:
            case Started():
                self._first_step[trial_id] = self._last_step[trial_id] = self._paid_steps.get(trial_id, 0)
            case Moved():
                self._last_step[trial_id] = event.progress.step - event.progress.shared_steps
            case Ended():
                if event.outcome.status in (Status.FINISHED, Status.DIVERGED, Status.STOPPED):
                    self._last_step[trial_id] = event.outcome.steps - event.outcome.shared_steps
                self._settle(task)
                self._forget(trial_id)
            case Lost():
                self._settle(task)
                self._forget(trial_id)
                if event.saved_step:
                    self._save(trial_id, event.saved_step, event.shared_steps)
            case Paused():
                reached = max(event.saved_step, self._last_step.get(trial_id, 0) + event.shared_steps)
                self._last_step[trial_id] = reached - event.shared_steps
                self._settle(task)
                self._save(trial_id, reached, event.shared_steps)
                self._reserved[trial_id] = self._owed(task)  # its job goes on with it
            case TrunkGone():
                self._settle(task)  # nothing was used
                self._forget(trial_id)
            case _:
                pass

    def release(self, trial_id: str) -> None:
        """Takes back a promise to a trial that will not run."""
        self._reserved.pop(trial_id, None)

    def _save(self, trial_id: str, step: int, shared_steps: int) -> None:
        self._saved_steps[trial_id], self._paid_steps[trial_id] = step, step - shared_steps

    def _forget(self, trial_id: str) -> None:
        self._saved_steps.pop(trial_id, None)
        self._paid_steps.pop(trial_id, None)

    def _settle(self, task: Task) -> None:
        trial_id = task.trial.id
        if self._reserved.pop(trial_id, None) is None:
            return
        began = self._first_step.pop(trial_id, self._paid_steps.get(trial_id, 0))
        steps = self._last_step.pop(trial_id, began) - began
        self.spent_core_hours += task.cost.core_hours * min(1.0, max(0, steps) / task.trial.steps)

    def _owed(self, task: Task) -> float:
        begins = max(self._saved_steps.get(task.trial.id, 0), task.shared_steps)
        return task.cost.core_hours * (1.0 - min(1.0, begins / task.trial.steps))


def used_core_hours(record: RunRecord) -> float:
    """Returns the price of the steps that a run was trained, as far as was reported, repeats included."""
    steps = (record.steps_done or 0) - record.shared_steps + record.repeated_steps
    return record.cost.core_hours * steps / record.trial.steps
