"""SPEND as a ledger: core-hours are reserved before a trial is handed in, and settled when its attempt ends."""

from collections.abc import Iterable, Sequence

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task, TrunkGone
from sweeps.curve import next_report
from sweeps.record import RunRecord, Status


class SpendLedger:
    """What a study has used and what is promised to trials that are queued or run; together never above the cap.

    Used is the price of the steps that were trained, repeats included; an attempt that died without a word counts as far
    as its next report, for it may have come there. A trial that was
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
        self._shared_steps: dict[str, int] = {}
        """Those that it took over."""
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
                self._shared_steps[trial_id] = task.shared_steps
            case Moved():
                self._last_step[trial_id] = event.progress.step - event.progress.shared_steps
                self._shared_steps[trial_id] = event.progress.shared_steps
            case Ended():
                if event.outcome.status in (Status.FINISHED, Status.DIVERGED, Status.STOPPED):
                    self._last_step[trial_id] = event.outcome.steps - event.outcome.shared_steps
                else:
                    self._count_unseen(task)
                self._settle(task)
                self._forget(trial_id)
            case Lost():
                if event.saved_step:
                    saved = event.saved_step - event.shared_steps
                    self._last_step[trial_id] = max(saved, self._last_step.get(trial_id, 0))
                else:
                    self._count_unseen(task)
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

    def _count_unseen(self, task: Task) -> None:
        """Counts what an attempt may have trained after its last report: as far as the next."""
        trial_id = task.trial.id
        if trial_id in self._first_step:
            shared = self._shared_steps.get(trial_id, 0)
            reached = self._last_step.get(trial_id, 0) + shared
            self._last_step[trial_id] = next_report(reached, task.trial.steps) - shared

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
    """Returns the price of the steps that a run was trained, repeats included; the record must have its curve.

    Of one that died after a report as far as the next, for it may have come there.
    """
    done = 0 if record.steps_done is None and record.outcome is None else record.steps_used
    if record.status is Status.KILLED and record.steps_done is None:
        done = next_report(0, record.trial.steps)
    steps = done - record.shared_steps + record.repeated_steps
    return record.cost.core_hours * max(0, steps) / record.trial.steps
