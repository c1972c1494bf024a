"""The reconcile loop: desired trials minus recorded ones are submitted and followed until none is owed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from launcher.backend import Backend, Broken, Ended, Event, Held, Lost, Refused, Task
from launcher.progress import View, last_line
from launcher.tally import Tally
from sweeps.errors import StudyError
from sweeps.plan import Pack, Plan
from sweeps.record import MAX_ATTEMPTS, Outcome, RunRecord, Status

COMMON_CAUSE_TRIALS = 3
"""So many trials, the first ones, failing with the same last line have one cause: the sweep stops."""
MAX_LOSSES = 3
"""A trial under which so many workers died within one command is left to the next command."""
HELD_WAIT_S = 1.0
MAX_HELD_WAITS = 60
"""So long a journal that a foreign process writes is waited for."""
POLL_S = 0.5


class SweepStopped(Exception):
    """The sweep cannot go on; its text is for the person at the keyboard."""


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What became of the pending trials of a plan."""

    finished: int
    diverged: int
    failed: tuple[str, ...]
    """Names of the trials that raised an exception at every attempt."""
    left: tuple[str, ...]
    """A line for each trial left to the next command, with the reason."""


Settle = Callable[[str], None]
Reread = Callable[[], Mapping[str, RunRecord]]


def pending_packs(plan: Plan) -> tuple[tuple[Task, ...], ...]:
    """Returns the pending trials of the plan as priced tasks, pack by pack, dearest first."""
    return tuple(_tasks(plan, pack) for pack in plan.packs())


def _tasks(plan: Plan, pack: Pack) -> tuple[Task, ...]:
    return tuple(Task(trial=trial, cost=plan.cost(trial)) for trial in pack.trials)


def run(
    packs: Sequence[Sequence[Task]],
    backend: Backend,
    *,
    tally: Tally,
    view: View,
    on_settled: Settle,
    reread: Reread,
) -> Settlement:
    """Returns once every task is settled or given up.

    Args:
        on_settled: called with the id of each trial that needs no further attempt; must not wait.
        reread: what is known of the study now, by trial id.

    Raises:
        SweepStopped: the first trials failed of one cause, or the back end cannot run anything.
        StudyError: the user has to mend something first.
    """
    loop = _Loop(packs, backend, tally=tally, view=view, on_settled=on_settled, reread=reread)
    while loop.is_owed:
        loop.turn()
    return loop.settlement()


class _Loop:
    """The state of one reconciliation."""

    def __init__(
        self,
        packs: Sequence[Sequence[Task]],
        backend: Backend,
        *,
        tally: Tally,
        view: View,
        on_settled: Settle,
        reread: Reread,
    ) -> None:
        self._backend, self._tally, self._view = backend, tally, view
        self._on_settled, self._reread = on_settled, reread
        self._owed = {task.trial.id: task for pack in packs for task in pack}
        self._raised: dict[str, int] = {}
        self._losses: dict[str, int] = {}
        self._held: dict[str, tuple[int, float]] = {}
        self._failures: dict[str, str] = {}
        self._counts = {Status.FINISHED: 0, Status.DIVERGED: 0}
        self._failed: list[str] = []
        self._left: list[str] = []
        for pack in packs:
            backend.submit(pack)

    @property
    def is_owed(self) -> bool:
        """Whether a trial is still to be settled."""
        return bool(self._owed)

    def turn(self) -> None:
        """Waits for events, at most POLL_S, and acts on them."""
        events = self._backend.poll(POLL_S)
        for event in events:
            self._tally.take(event)
            self._act(event)
            self._view.show(event)
        if self._held and not events:
            time.sleep(POLL_S)  # a back end with nothing to do answers at once
        self._retry_held()

    def settlement(self) -> Settlement:
        """Returns what became of the trials so far."""
        return Settlement(
            finished=self._counts[Status.FINISHED],
            diverged=self._counts[Status.DIVERGED],
            failed=tuple(self._failed),
            left=tuple(self._left),
        )

    def _act(self, event: Event) -> None:
        match event:
            case Ended():
                self._end(event.trial_id, event.outcome)
            case Lost():
                self._lose(event)
            case Held():
                waits, _ = self._held.get(event.trial_id, (0, 0.0))
                self._held[event.trial_id] = (waits + 1, time.monotonic())
            case Refused():
                raise StudyError(event.message)
            case Broken():
                raise SweepStopped(f"no worker can be started: {event.reason}")
            case _:
                pass

    def _end(self, trial_id: str, outcome: Outcome) -> None:
        if outcome.status in self._counts:
            self._counts[outcome.status] += 1
            self._settle(trial_id, outcome)
            return
        self._failures[trial_id] = outcome.error or f"ended as {outcome.status.value} without a reason"
        self._stop_on_common_cause()
        raised = self._raised[trial_id] = self._raised.get(trial_id, 0) + 1
        if raised < MAX_ATTEMPTS:
            self._backend.submit((self._owed[trial_id],))
            return
        self._failed.append(self._owed[trial_id].trial.name)
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
        known = self._reread().get(event.trial_id)
        if known is not None and known.is_settled:  # it died between the last line of its journal and telling so
            self._settle(event.trial_id, known.outcome)
            return
        losses = self._losses[event.trial_id] = self._losses.get(event.trial_id, 0) + 1
        if losses < MAX_LOSSES:
            self._backend.submit((self._owed[event.trial_id],))
        else:
            self._leave(event.trial_id, f"{losses} workers died under it ({event.reason})")

    def _retry_held(self) -> None:
        now = time.monotonic()
        due = [trial_id for trial_id, (_, since_s) in self._held.items() if now - since_s >= HELD_WAIT_S]
        known: Mapping[str, RunRecord] = self._reread() if due else {}
        for trial_id in due:
            waits, _ = self._held[trial_id]
            if trial_id in known and known[trial_id].is_settled:
                del self._held[trial_id]
                self._settle(trial_id, None)
            elif waits >= MAX_HELD_WAITS:
                del self._held[trial_id]
                self._leave(trial_id, "another process is still writing its journal")
            else:
                # Its count stays, its time starts with the next refusal.
                self._held[trial_id] = (waits, float("inf"))
                self._backend.submit((self._owed[trial_id],))

    def _leave(self, trial_id: str, reason: str) -> None:
        self._left.append(f"{self._owed.pop(trial_id).trial.name}: {reason}")

    def _settle(self, trial_id: str, outcome: Outcome | None) -> None:
        del self._owed[trial_id]
        self._tally.settle(trial_id, outcome)
        self._on_settled(trial_id)
