"""SPEND as a ledger: core-hours are reserved before a trial is handed in, and settled when its attempt ends."""

import math
from collections.abc import Iterable, Sequence

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task, TrunkGone
from sweeps.curve import unreported
from sweeps.record import RunRecord, Status
from sweeps.spent import core_hours_spent


class SpendLedger:
    """What a study has used and what is promised to trials that are queued or run; together never above the cap.

    Used is the price of the steps that were trained, repeats included; an attempt that died without a word counts as
    far as its next report, for it may have come there. A trial that was interrupted without saving is promised its full
    price again, since nobody knows yet where it will resume. Where the cluster itself begins it again, unasked, and the
    cap does not hold that price, the trial is short: whoever runs it has to be stopped. Steps that a task takes over
    from a shorter run are neither promised nor used: it is not trained where it finds fewer.
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
        self._told_step: dict[str, int | None] = {}
        """The last report of the attempt at hand; None before its first."""
        self._front_step: dict[str, int] = {}
        """The furthest step that a trial is known to have come to."""
        self._short: set[str] = set()
        for record in records:
            self.spent_core_hours += core_hours_spent(record, has_curve=True)
            self._advance(record.trial.id, record.steps_done or 0)
            if record.status is Status.RUNNING:
                self._told_step[record.trial.id] = record.attempt_step
            saved = _saved_step(record)
            if saved is not None:
                self._save(record.trial.id, saved, record.shared_steps)

    @property
    def reserved_core_hours(self) -> float:
        """What is promised and not yet settled."""
        return sum(self._reserved.values())

    def reserve(self, tasks: Sequence[Task], *, is_underway: bool = False) -> bool:
        """Returns whether the tasks may be handed in, and promises their price if so.

        Args:
            tasks: trials that no reservation is held for.
            is_underway: they run already, for an earlier driver promised them their price; those whose price the cap
                does not hold are short.
        """
        prices = {task.trial.id: self._owed(task) for task in tasks if task.trial.id not in self._reserved}
        if not prices:
            return True  # promised already: it is queued or runs since an earlier command
        if is_underway:
            for trial_id, price in prices.items():
                self._promise(trial_id, price)
            return True
        if self._is_beyond(sum(prices.values())):
            return False
        self._reserved.update(prices)
        return True

    def is_short(self, trial_id: str) -> bool:
        """Returns whether a trial runs for which the cap does not hold its price."""
        return trial_id in self._short

    def _promise(self, trial_id: str, price: float) -> None:
        """Promises what runs already its price, or what is left of the cap."""
        self._reserved.pop(trial_id, None)
        if self._is_beyond(price):
            self._short.add(trial_id)
            price = max(0.0, self._room())
        self._reserved[trial_id] = price

    def _room(self) -> float:
        """Returns what may still be promised [core-hours]."""
        cap = math.inf if self.cap_core_hours is None else self.cap_core_hours
        return cap - self.spent_core_hours - self.reserved_core_hours

    def _is_beyond(self, price: float) -> bool:
        # Sums of thousands of prices round: one part in a billion is no overdraft.
        return price > self._room() + 1e-9 * (self.cap_core_hours or 0.0)

    def take(self, event: Event, task: Task) -> None:
        """Settles what an event of a task's attempt says was used."""
        trial_id = task.trial.id
        match event:
            case Started():
                if trial_id in self._told_step:  # the attempt before died, and its job was begun again unasked
                    self._count_unseen(task)
                    self._settle(task)
                    self._forget(trial_id)
                    self._promise(trial_id, self._owed(task))
                self._first_step[trial_id] = self._last_step[trial_id] = self._paid_steps.get(trial_id, 0)
                self._told_step[trial_id] = None
                self._advance(trial_id, task.shared_steps)
            case Moved():
                self._last_step[trial_id] = event.progress.step - event.progress.shared_steps
                self._told_step[trial_id] = event.progress.step
                self._advance(trial_id, event.progress.step)
            case Ended():
                if event.outcome.status in (Status.FINISHED, Status.DIVERGED, Status.STOPPED):
                    self._told_step.pop(trial_id, None)
                    self._last_step[trial_id] = event.outcome.steps - event.outcome.shared_steps
                else:
                    self._count_unseen(task)
                self._settle(task)
                self._forget(trial_id)
            case Lost():
                if event.saved_step:
                    self._told_step.pop(trial_id, None)
                    saved = event.saved_step - event.shared_steps
                    self._last_step[trial_id] = max(saved, self._last_step.get(trial_id, 0))
                    self._advance(trial_id, event.saved_step)
                else:
                    self._count_unseen(task)
                self._settle(task)
                self._forget(trial_id)
                if event.saved_step:
                    self._save(trial_id, event.saved_step, event.shared_steps)
            case Paused():
                self._told_step.pop(trial_id, None)
                reached = max(event.saved_step, self._last_step.get(trial_id, 0) + event.shared_steps)
                self._advance(trial_id, reached)
                self._last_step[trial_id] = reached - event.shared_steps
                self._settle(task)
                self._save(trial_id, reached, event.shared_steps)
                self._reserved[trial_id] = self._owed(task)  # its job goes on with it
            case TrunkGone():
                self._told_step.pop(trial_id, None)
                self._settle(task)  # nothing was used
                self._forget(trial_id)
            case _:
                pass

    def release(self, trial_id: str) -> None:
        """Takes back a promise to a trial that will not run."""
        self._short.discard(trial_id)
        self._reserved.pop(trial_id, None)

    def _save(self, trial_id: str, step: int, shared_steps: int) -> None:
        self._saved_steps[trial_id], self._paid_steps[trial_id] = step, step - shared_steps

    def _forget(self, trial_id: str) -> None:
        self._saved_steps.pop(trial_id, None)
        self._paid_steps.pop(trial_id, None)

    def _count_unseen(self, task: Task) -> None:
        """Counts what an attempt may have trained after its last report."""
        trial_id = task.trial.id
        if trial_id in self._told_step:
            told, front = self._told_step.pop(trial_id), self._front_step.get(trial_id, 0)
            unseen = unreported(task.trial, told, front=front)
            began = self._paid_steps.get(trial_id, 0)
            self._last_step[trial_id] = self._last_step.get(trial_id, began) + unseen

    def _advance(self, trial_id: str, step: int) -> None:
        self._front_step[trial_id] = max(step, self._front_step.get(trial_id, 0))

    def _settle(self, task: Task) -> None:
        trial_id = task.trial.id
        self._short.discard(trial_id)
        reserved = self._reserved.pop(trial_id, None)
        if reserved is None:
            return
        began = self._first_step.pop(trial_id, self._paid_steps.get(trial_id, 0))
        steps = self._last_step.pop(trial_id, began) - began
        # What may have been trained unseen is counted with caution, but never beyond the end of the trial.
        self.spent_core_hours += min(reserved, task.cost.core_hours * max(0, steps) / task.trial.steps)

    def _owed(self, task: Task) -> float:
        begins = max(self._saved_steps.get(task.trial.id, 0), task.shared_steps)
        return task.cost.core_hours * (1.0 - min(1.0, begins / task.trial.steps))


def _saved_step(record: RunRecord) -> int | None:
    """Returns the step behind which a trial is not trained again; None where that is not known.

    It saved when it was asked to stop; one that runs is at its last report or further. What an attempt before that has
    reported and not saved is done again.
    """
    outcome = record.outcome
    saved = outcome.steps if outcome is not None and outcome.status in (Status.KILLED, Status.STOPPED) else None
    if record.status is not Status.RUNNING:
        return saved if record.status in (Status.KILLED, Status.STOPPED) else None
    own = record.steps_done if record.attempts == 1 else record.attempt_step
    return max(own or 0, saved or 0, record.shared_steps)
