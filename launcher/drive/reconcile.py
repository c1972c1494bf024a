"""The reconcile loop: desired trials minus recorded ones are submitted and followed until none is owed."""

from collections.abc import Sequence
from dataclasses import replace

from launcher.contract.backend import (
    Backend,
    Broken,
    Ended,
    Event,
    Held,
    Lost,
    Moved,
    Paused,
    Refused,
    Started,
    Task,
    TrunkGone,
)
from launcher.drive.requests_file import Ask
from launcher.drive.retries import GIVE_UP_AFTER, Retries
from launcher.drive.surroundings import Settlement, Surroundings, SweepCancelled, SweepStopped
from launcher.drive.trunks import Chains
from launcher.show.progress import last_line
from sweeps.budget import format_core_hours
from sweeps.errors import StudyError
from sweeps.record import MAX_ATTEMPTS, Outcome, Status

COMMON_CAUSE_TRIALS = 3
"""So many trials, the first ones, failing with the same last line have one cause: the sweep stops."""
HELD_WAIT_S = 1.0
MAX_HELD_WAITS = 60
"""So long a journal that a foreign process writes is waited for."""
POLL_S = 0.5
LOG_TAIL_LETTERS = 2000


def run(packs: Sequence[Sequence[Task]], backend: Backend, around: Surroundings) -> Settlement:
    """Returns once every task is settled or given up.

    Raises:
        SweepStopped: the first trials failed of one cause, the back end cannot run anything, or somebody said stop;
            nothing is queued or runs any more.
        StudyError: the user has to mend something first; likewise.
    """
    loop = _Loop(packs, backend, around)
    try:
        loop.begin()
        loop.until_settled()
        while packs := around.more(loop.given_up):
            loop.add(packs)
            loop.until_settled()
    except (SweepStopped, StudyError):
        backend.stop()
        raise
    return loop.settlement()


class _Loop:
    """The state of one reconciliation."""

    def __init__(self, packs: Sequence[Sequence[Task]], backend: Backend, around: Surroundings) -> None:
        self._backend, self._around, self._packs = backend, around, packs
        self._tasks = {task.trial.id: task for pack in packs for task in pack}
        self._owed = dict(self._tasks)
        self._jobs: dict[str, str] = {}
        self._raised: dict[str, int] = {}
        self._retries = Retries(around.clock)
        self._chains = Chains()
        self._held: dict[str, tuple[int, float]] = {}
        self._failures: dict[str, str] = {}
        self._has_started = False
        self._counts = {Status.FINISHED: 0, Status.DIVERGED: 0, Status.STOPPED: 0}
        self._out_of_memory: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._left: dict[str, str] = {}

    @property
    def is_owed(self) -> bool:
        """Whether a trial is still to be settled."""
        return bool(self._owed)

    def begin(self) -> None:
        """Hands all packs in, as far as the cap allows; what runs already for an earlier driver comes first."""
        underway = {task.trial.id: task for task in self._backend.underway()}
        self._around.ledger.reserve(tuple(underway.values()), is_underway=True)
        for trial_id, task in underway.items():
            # What runs is what is paid for, now and when it is tried again; it waits for nothing any more.
            self._tasks[trial_id] = replace(task, after=None)
            if trial_id in self._owed:
                self._owed[trial_id] = self._tasks[trial_id]
        for pack in self._packs:
            self._submit([self._tasks[task.trial.id] for task in pack])
        self._submit_freed()
        for trial_id in underway:
            self._call_off_if_short(trial_id)

    def add(self, packs: Sequence[Sequence[Task]]) -> None:
        """Takes further trials in, none of which was known before."""
        tasks = {task.trial.id: task for pack in packs for task in pack}
        self._tasks.update(tasks)
        self._owed.update(tasks)
        self._around.tally.add(tasks.values())
        for pack in packs:
            self._submit(pack)
        self._submit_freed()

    def until_settled(self) -> None:
        """Returns once no trial is owed."""
        while self.is_owed:
            self.turn()

    @property
    def given_up(self) -> frozenset[str]:
        """Ids of the trials that failed, were left or ran out of memory."""
        return frozenset((*self._failed, *self._left, *self._out_of_memory))

    def turn(self) -> None:
        """Waits for events, at most POLL_S, and acts on them."""
        events = self._backend.poll(POLL_S)
        for event in events:
            self._take(event)
        if (self._held or self._retries) and not events:
            self._around.sleep(POLL_S if self._held else 0.05)  # a back end with nothing to do answers at once
        self._retry_held()
        due = [self._owed[trial_id] for trial_id in self._retries.due() if trial_id in self._owed]
        for task in due:
            self._submit((task,))
        asked = self._around.asked()
        if Ask.STOP in asked:
            raise SweepCancelled(
                "stopped by make stop: nothing is queued or runs any more; every record and checkpoint is kept, and "
                "the same command goes on from here"
            )
        if Ask.RETRY in asked:
            self._give_another_go()
        self._submit_freed()
        self._around.on_turn()

    @property
    def _past_cap(self) -> str:
        return f"past the spend cap of {format_core_hours(self._around.ledger.cap_core_hours or 0.0)} core-hours"

    def settlement(self) -> Settlement:
        """Returns what became of the trials so far."""
        return Settlement(
            finished=self._counts[Status.FINISHED],
            diverged=self._counts[Status.DIVERGED],
            stopped=self._counts[Status.STOPPED],
            out_of_memory=tuple(self._out_of_memory.values()),
            failed=tuple(self._failed.values()),
            left=tuple(self._left.values()),
        )

    def _submit(self, tasks: Sequence[Task]) -> None:
        """Hands tasks in, their price reserved; those that the cap does not hold are left, the dearest seeds first.

        What is to go on from a run that is still owed waits for it.
        """
        allowed: list[Task] = []
        for task in self._chains.hold(tasks, self._owed):
            if self._around.ledger.reserve((task,)):
                allowed.append(task)
            else:
                self._leave(task.trial.id, self._past_cap)
        if allowed:
            job = self._backend.submit(tuple(allowed))
            self._jobs.update((task.trial.id, job) for task in allowed)

    def _submit_freed(self) -> None:
        while freed := self._chains.take_freed():  # one that is left frees the next
            for tasks in freed:
                self._submit([self._repriced(task) for task in tasks])

    def _repriced(self, task: Task) -> Task:
        """Returns the task, now the one that counts for its trial."""
        self._tasks[task.trial.id] = self._owed[task.trial.id] = task
        return task

    def _take(self, event: Event) -> None:
        if isinstance(event, Refused):
            raise StudyError(event.message)
        if isinstance(event, Broken):
            raise SweepStopped(f"no worker can be started: {event.reason}")
        task = self._tasks.get(event.trial_id)
        if task is None:
            return
        self._around.ledger.take(event, task)
        if event.trial_id not in self._owed:
            return  # of an earlier driver's job, or told twice
        self._around.tally.take(event)
        self._act(event)
        self._around.view.show(event)

    def _act(self, event: Started | Moved | Ended | Paused | Lost | TrunkGone | Held) -> None:
        match event:
            case Started():
                self._has_started = True
                self._call_off_if_short(event.trial_id)
            case Moved():
                self._retries.progress(event.trial_id, event.progress.step)
            case Ended():
                self._end(event.trial_id, event.outcome)
            case Lost():
                self._lose(event)
            case TrunkGone():
                self._submit((self._repriced(replace(self._owed[event.trial_id], shared_steps=0)),))
            case Held():
                waits, _ = self._held.get(event.trial_id, (0, 0.0))
                self._held[event.trial_id] = (waits + 1, self._around.clock())
            case Paused():
                pass

    def _end(self, trial_id: str, outcome: Outcome) -> None:
        if outcome.status in self._counts:
            self._counts[outcome.status] += 1
            self._settle(trial_id, outcome)
            return
        if outcome.status is Status.OUT_OF_MEMORY:
            self._out_of_memory[trial_id] = self._owed[trial_id].trial.name
            self._settle(trial_id, outcome)
            return
        self._failures[trial_id] = outcome.error or f"ended as {outcome.status.value} without a reason"
        self._stop_on_common_cause()
        raised = self._raised[trial_id] = self._raised.get(trial_id, 0) + 1
        if raised < MAX_ATTEMPTS:
            self._submit((self._owed[trial_id],))
            return
        self._failed[trial_id] = self._owed[trial_id].trial.name
        self._settle(trial_id, outcome)

    def _stop_on_common_cause(self) -> None:
        traces = list(self._failures.values())
        causes = {last_line(trace) for trace in traces}
        if len(traces) >= COMMON_CAUSE_TRIALS and len(causes) == 1 and not any(self._counts.values()):
            raise SweepStopped(
                f"the first {len(traces)} runs all failed with {causes.pop()!r}, so the sweep stopped. The trace of "
                f"one of them:\n\n{traces[0].rstrip()}\n\nMend the cause and type the same command again."
            )

    def _lose(self, event: Lost) -> None:
        known = self._around.known(event.trial_id)
        if known is not None and known.status.is_final:  # it died between the last line of its journal and telling so
            self._settle(event.trial_id, known.outcome)
            return
        self._retries.save(event.trial_id, self._around.saved_mark(event.trial_id))
        if self._retries.lose(event.trial_id):
            return
        self._stop_where_nothing_starts(event)
        self._leave(event.trial_id, f"{GIVE_UP_AFTER} workers died under it ({event.reason})")

    def _call_off_if_short(self, trial_id: str) -> None:
        """Takes back the job of a trial whose price the cap does not hold; what else it carries is handed in anew."""
        if not self._around.ledger.is_short(trial_id) or trial_id not in self._owed:
            return
        job = self._jobs[trial_id]
        self._backend.cancel(job)
        for other in [own for own, carrier in self._jobs.items() if carrier == job and own in self._owed]:
            self._around.ledger.take(Lost(trial_id=other, reason="called off"), self._tasks[other])
            if other == trial_id:
                self._leave(other, f"{self._past_cap}: its job was taken back")
            elif other not in self._held:
                self._retries.forget(other)
                self._submit((self._owed[other],))

    def _stop_where_nothing_starts(self, event: Lost) -> None:
        if self._has_started or self._retries.given_up < min(COMMON_CAUSE_TRIALS, len(self._tasks)):
            return
        printed = self._backend.logs(self._jobs[event.trial_id]).rstrip()[-LOG_TAIL_LETTERS:]
        raise SweepStopped(
            f"no run has been started: {event.reason}, for one after the other, so the sweep stopped. The log of the "
            f"last one ends:\n\n{printed or '(empty)'}\n\nMend the cause and type the same command again."
        )

    def _retry_held(self) -> None:
        now = self._around.clock()
        for trial_id in [trial_id for trial_id, (_, since_s) in self._held.items() if now - since_s >= HELD_WAIT_S]:
            waits, _ = self._held[trial_id]
            known = self._around.known(trial_id)
            if known is not None and known.status.is_final:
                self._settle(trial_id, None)
            elif known is not None and known.status is Status.RUNNING:
                self._held[trial_id] = (waits, now)  # a living process has it: that ends one way or the other
            elif waits >= MAX_HELD_WAITS:
                del self._held[trial_id]
                self._leave(trial_id, "another process is still writing its journal")
            else:
                # Its count stays, its time starts with the next refusal.
                self._held[trial_id] = (waits, float("inf"))
                self._submit((self._owed[trial_id],))

    def _give_another_go(self) -> None:
        """Submits again what was given up in this command."""
        given_up = (self._failed, self._left, self._out_of_memory)
        again = [trial_id for names in given_up for trial_id in names]
        for names in given_up:
            names.clear()
        for trial_id in again:
            self._raised.pop(trial_id, None)
            self._failures.pop(trial_id, None)
            self._retries.forget(trial_id)
            self._owed[trial_id] = self._tasks[trial_id]
            self._around.tally.owe_again(trial_id)
            self._submit((self._tasks[trial_id],))

    def _leave(self, trial_id: str, reason: str) -> None:
        self._around.ledger.release(trial_id)
        self._left[trial_id] = f"{self._owed.pop(trial_id).trial.name}: {reason}"
        self._chains.settle(trial_id, has_finished=False)

    def _settle(self, trial_id: str, outcome: Outcome | None) -> None:
        self._around.ledger.release(trial_id)
        del self._owed[trial_id]
        self._chains.settle(trial_id, has_finished=outcome is None or outcome.status is Status.FINISHED)
        self._held.pop(trial_id, None)
        self._around.tally.settle(trial_id)
        self._around.on_settled(trial_id)
