"""The desk: runs tasks of one order in this process, one after the other or as packs, and journals each attempt."""

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from launcher.contract.backend import TRAINER, Lost, Order, Paused, Refused, ShouldStop, Task, TrunkGone
from launcher.contract.program import program_of
from launcher.work.attempt import Attempt, Send, Watch, open_attempt
from launcher.work.failures import failed, is_disk_trouble, is_out_of_memory, last_line
from launcher.work.hosts import Hosts
from sweeps.errors import StudyError
from sweeps.record import Outcome
from sweeps.trial import DataSpec

SEPARATE = "separate"
"""The way to train a pack that is none: one task after the other."""


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
        self._unpackable: set[str] = set()

    def run(self, task: Task, send: Send, *, should_stop: ShouldStop = lambda: None) -> None:
        """Trains one task and journals the attempt; an exception of the trainer is an outcome, not an error."""
        refusal = self._refusal(task.trial.data)
        if not self._hosts.everyone_says(refusal is None):
            send(Refused(message=refusal or "another host of the job cannot read the data"))
            return
        if self._hosts.is_leader:
            attempt = open_attempt(task, self._order, self._name, send)
        else:
            attempt = Attempt(task, self._order, self._name, None, send)
        if not self._hosts.leader_says(attempt is not None) or attempt is None:
            return
        program = program_of(task.trial)
        attempt.started(is_compiling=program not in self._programs)
        try:
            outcome, reason = self._trained(attempt, should_stop)
            self._programs.add(program)
            attempt.record(outcome)
            self._hosts.gather()
        except Exception as error:  # the disk is full, or gone
            attempt.lost(error)
            self._hosts.abandon()
            return
        finally:
            attempt.close()
        if attempt.is_told:
            attempt.tell(outcome, reason)

    def packing(self, tasks: Sequence[Task]) -> str:
        """Returns how these tasks are best trained here: SEPARATE, or a mode of `run_pack`; this may measure it."""
        choose: Callable[..., str] | None = getattr(self._module, "pack_mode", None)
        if choose is None or len(tasks) < 2 or self._hosts.count > 1:
            return SEPARATE
        trials = [task.trial for task in tasks]
        if program_of(trials[0]) in self._unpackable or self._refusal(trials[0].data) is not None:
            return SEPARATE
        try:
            return choose(trials, data_dir=self._order.paths.data_dir, compute=self._order.compute)
        except Exception:  # whatever it is, each trial will say it for itself
            traceback.print_exc()
            return SEPARATE

    def run_pack(self, tasks: Sequence[Task], send: Send, *, mode: str, should_stop: ShouldStop = lambda: None) -> None:
        """Trains tasks in step, as `packing` has said, each with its own journal and end.

        An exception that is not the disk's ends the pack: what it had not ended goes on task by task from its
        checkpoints, so that each failure is the fault of its own trial, and the program is not packed here again.
        """
        opened = (open_attempt(task, self._order, self._name, send) for task in tasks)
        under_way = {attempt.task.trial.id: attempt for attempt in opened if attempt is not None}
        if not under_way:
            return
        program = program_of(tasks[0].trial)
        for attempt in under_way.values():
            attempt.started(is_compiling=program not in self._programs)
        try:
            self._train_pack(under_way, mode, should_stop)
            self._programs.add(program)
        except Exception as error:
            traceback.print_exc()
            for attempt in under_way.values():
                attempt.close()
            if is_disk_trouble(error):
                for attempt in under_way.values():
                    attempt.lost(error)
                return
            print("the pack gave out; its tasks go on one by one", file=sys.stderr, flush=True)
            self._unpackable.add(program)
            for attempt in under_way.values():
                self.run(attempt.task, send, should_stop=should_stop)

    def _train_pack(self, under_way: dict[str, Attempt], mode: str, should_stop: ShouldStop) -> None:
        """Trains all attempts; those that have ended are taken out."""
        attempts = list(under_way.values())
        watch = Watch([attempt.task for attempt in attempts], should_stop)

        def end_of(attempt: Attempt) -> Callable[[Outcome], None]:
            def end(outcome: Outcome) -> None:
                judged, reason = attempt.judged(outcome, watch)
                attempt.record(judged)
                attempt.close()
                del under_way[attempt.task.trial.id]
                attempt.tell(judged, reason)

            return end

        paths, study = self._order.paths, self._order.study
        settings: dict[str, Any] = {}
        if self._order.trainer == TRAINER:
            settings = self._own_settings()
            settings["least_start_steps"] = [attempt.task.shared_steps for attempt in attempts]
        self._module.train_pack(
            [attempt.task.trial for attempt in attempts],
            mode=mode,
            data_dir=paths.data_dir,
            checkpoint_dirs=[paths.checkpoint_dir(study, trial_id) for trial_id in under_way],
            reports=[attempt.report for attempt in attempts],
            ends=[end_of(attempt) for attempt in attempts],
            should_stop=watch.is_over,
            **settings,
        )

    def _trained(self, attempt: Attempt, should_stop: ShouldStop) -> tuple[Outcome, Lost | Paused | TrunkGone | None]:
        """Returns how an attempt ended, and what to tell where that is not its end.

        Raises:
            OSError: the disk is full or gone.
        """
        trial = attempt.task.trial
        watch = Watch([attempt.task], should_stop)
        try:
            outcome = self._train(
                trial,
                data_dir=self._order.paths.data_dir,
                checkpoint_dir=self._order.paths.checkpoint_dir(self._order.study, trial.id),
                report=attempt.report,
                should_stop=watch.is_over,
                **self._settings(attempt.task),
            )
        except Exception as error:
            if is_disk_trouble(error):
                raise OSError(f"the disk gave out ({last_line(error)})") from error
            outcome = failed(traceback.format_exc(), attempt.last, is_out_of_memory=is_out_of_memory(error))
            print(outcome.error, file=sys.stderr, flush=True)
        sys.stdout.flush()
        return attempt.judged(outcome, watch)

    def _settings(self, task: Task) -> dict[str, Any]:
        """Returns what this trainer is told besides: a program its words, this project's training its compute."""
        if self._order.command:
            return {"command": self._order.command}
        if self._order.trainer == TRAINER:
            return {**self._own_settings(), "least_start_step": task.shared_steps}
        return {}

    def _own_settings(self) -> dict[str, Any]:
        paths = self._order.paths
        return {
            "compute": self._order.compute,
            "weights_dir": paths.weights_dir,
            "trunks_dir": paths.trunks_dir(self._order.study),
        }

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
