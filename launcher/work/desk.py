"""The desk: runs tasks of one order in this process, one after the other, and journals each attempt."""

import dataclasses
import importlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launcher.contract.backend import (
    TRAINER,
    Ended,
    Event,
    Held,
    Lost,
    Moved,
    Order,
    Paused,
    Refused,
    ShouldStop,
    Started,
    Stop,
    Task,
    TrunkGone,
)
from launcher.contract.program import program_of
from launcher.work.failures import failed, is_disk_trouble, is_out_of_memory, last_line
from launcher.work.hosts import Hosts
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec

if TYPE_CHECKING:
    from tracking.journal import AttemptJournal

Send = Callable[[Event], None]


class Desk:
    """Runs tasks of one order in this process; keeps what makes the second task of a program cheap."""

    def __init__(self, order: Order, *, name: str, hosts: Hosts | None = None) -> None:
        """Imports the trainer; raises StudyError where it does not exist.

        Args:
            order: what its tasks share.
            name: who works here, for people.
            hosts: the processes that train one trial together; absent: this one alone.
        """
        self._order, self._name = order, name
        self._hosts = hosts or Hosts()
        module_name, _, function = order.trainer.partition(":")
        try:
            self._module: Any = importlib.import_module(module_name)
            self._train: Callable[..., Outcome] = getattr(self._module, function)
        except (ModuleNotFoundError, AttributeError) as error:
            raise StudyError(f"trainer {order.trainer!r} cannot be loaded ({error}); write module:function") from error
        self._prepared: set[DataSpec] = set()
        self._programs: set[str] = set()

    def run(self, task: Task, send: Send, *, should_stop: ShouldStop = lambda: None) -> None:
        """Trains one task and journals the attempt; an exception of the trainer is an outcome, not an error."""
        order, trial = self._order, task.trial
        refusal = self._refusal(trial.data)
        if not self._hosts.everyone_says(refusal is None):
            send(Refused(message=refusal or "another host of the job cannot read the data"))
            return
        journal = self._open_journal(task, send) if self._hosts.is_leader else None
        if not self._hosts.leader_says(journal is not None):
            return
        program = program_of(trial)
        if journal is not None:
            send(Started(trial_id=trial.id, worker=self._name, is_compiling=program not in self._programs))
        try:
            outcome, reason = self._attempt(task, journal, send, should_stop)
            self._programs.add(program)
            if journal is None:
                self._hosts.gather()
                return
            journal.end(outcome)
            self._hosts.gather()
        except Exception as error:  # the disk is full, or gone: nothing can be said in the journal
            send(Lost(trial_id=trial.id, reason=f"{self._name}: {error}"))
            self._hosts.abandon()
            return
        finally:
            if journal is not None:
                journal.close()
        if reason is not None:
            send(reason)
            return
        if outcome.status in (Status.FINISHED, Status.DIVERGED, Status.OUT_OF_MEMORY):
            # Only now: a kill before the journal's last line must find it.
            shutil.rmtree(order.paths.checkpoint_dir(order.study, trial.id), ignore_errors=True)
        send(Ended(trial_id=trial.id, outcome=outcome))

    def _open_journal(self, task: Task, send: Send) -> "AttemptJournal | None":
        """Returns the journal of a new attempt; None where there is none to be made, which is told."""
        from tracking.journal import JournalHeldError, start_attempt

        try:
            return start_attempt(
                self._order.paths,
                self._order.study,
                task.trial,
                cost=task.cost,
                budget_core_hours=self._order.budget_core_hours,
                code_version=self._order.code_version,
                device=device_name(),
            )
        except JournalHeldError:
            send(Held(trial_id=task.trial.id))
        except OSError as error:
            send(Lost(trial_id=task.trial.id, reason=f"{self._name}: its journal cannot be begun ({error})"))
        return None

    def _attempt(
        self, task: Task, journal: "AttemptJournal | None", send: Send, should_stop: ShouldStop
    ) -> tuple[Outcome, Lost | Paused | TrunkGone | None]:
        """Returns how an attempt ended, and what to tell where that is not its end.

        Raises:
            OSError: the disk is full or gone.
        """
        trial = task.trial
        watch = _Watch(task, should_stop)
        last: Progress | None = None

        def report(progress: Progress) -> None:
            nonlocal last
            last = progress
            if journal is not None:
                journal.progress(progress)
                send(Moved(trial_id=trial.id, progress=progress))

        try:
            print(f"---- {trial.name} {trial.id}", file=sys.stderr, flush=True)
            outcome = self._train(
                trial,
                data_dir=self._order.paths.data_dir,
                checkpoint_dir=self._order.paths.checkpoint_dir(self._order.study, trial.id),
                report=report,
                should_stop=watch.is_over,
                **self._settings(task),
            )
        except Exception as error:
            if is_disk_trouble(error):
                raise OSError(f"the disk gave out ({last_line(error)})") from error
            outcome = failed(traceback.format_exc(), last, is_out_of_memory=is_out_of_memory(error))
            print(outcome.error, file=sys.stderr, flush=True)
        sys.stdout.flush()
        if outcome.status is not Status.KILLED:
            return outcome, None
        if outcome.steps < task.shared_steps:
            return outcome, TrunkGone(trial_id=trial.id)
        watch.is_over()  # a signal that reached another host first is here by now
        if watch.stop is Stop.OUTRUN:
            return dataclasses.replace(outcome, status=Status.STOPPED), None
        if watch.stop is Stop.MAKE_ROOM or not watch.is_late:
            room = f"{self._name} has to make room"
            return outcome, Paused(
                trial_id=trial.id, reason=room, saved_step=outcome.steps, shared_steps=outcome.shared_steps
            )
        limit = f"{self._name}: past its time limit of {task.limit_s or 0:g} s"
        return outcome, Lost(
            trial_id=trial.id, reason=limit, saved_step=outcome.steps, shared_steps=outcome.shared_steps
        )

    def _settings(self, task: Task) -> dict[str, Any]:
        """Returns what this trainer is told besides: a program its words, this project's training its compute."""
        if self._order.command:
            return {"command": self._order.command}
        if self._order.trainer == TRAINER:
            paths = self._order.paths
            return {
                "compute": self._order.compute,
                "weights_dir": paths.weights_dir,
                "trunks_dir": paths.trunks_dir(self._order.study),
                "least_start_step": task.shared_steps,
            }
        return {}

    def _refusal(self, data: DataSpec) -> str | None:
        """Returns what is wrong with the data, once it was read; None where nothing is."""
        prepare: Callable[..., None] | None = getattr(self._module, "prepare_data", None)
        if data in self._prepared or prepare is None:
            return None
        try:
            prepare(data, self._order.paths.data_dir)
        except StudyError as error:
            return str(error)
        self._prepared.add(data)
        return None


class _Watch:
    """Whether the trial at hand has to end, and why: asked by somebody, or out of time."""

    def __init__(self, task: Task, should_stop: ShouldStop) -> None:
        self._should_stop = should_stop
        self._deadline_s = None if task.limit_s is None else time.monotonic() + task.limit_s
        self.stop: Stop | None = None

    def is_over(self) -> bool:
        self.stop = self.stop or self._should_stop()
        return self.stop is not None or self.is_late

    @property
    def is_late(self) -> bool:
        """Whether the attempt is past its limit."""
        return self._deadline_s is not None and time.monotonic() > self._deadline_s


def device_name() -> str:
    """Returns what trials of this process run on, as JAX names it; `python` where the trainer does not use JAX."""
    jax: Any = sys.modules.get("jax")
    return str(jax.devices()[0].device_kind) if jax is not None else "python"
