"""The worker: trains one task after another in a process that stays warm, and journals each attempt.

Started by the local back end as `python -m launcher.worker --parent PID [--core N]`. First line on stdin: the order;
every further line: a task. Events go to stdout, one JSON line each; everything printed goes to stderr, a log file.
"""

import argparse
import importlib
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from launcher.backend import Ended, Event, Held, Moved, Order, Refused, Started, Task
from launcher.dispatch import program_of
from launcher.wire import Ready, decode_order, decode_task, encode_event
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec

Send = Callable[[Event], None]


class Desk:
    """Runs tasks of one order in this process; keeps what makes the second task of a program cheap."""

    def __init__(self, order: Order, *, name: str) -> None:
        """Imports the trainer; raises StudyError where it does not exist."""
        self._order, self._name = order, name
        module_name, _, function = order.trainer.partition(":")
        try:
            self._module: Any = importlib.import_module(module_name)
            self._train: Callable[..., Outcome] = getattr(self._module, function)
        except (ModuleNotFoundError, AttributeError) as error:
            raise StudyError(f"trainer {order.trainer!r} cannot be loaded ({error}); write module:function") from error
        self._prepared: set[DataSpec] = set()
        self._programs: set[str] = set()

    def run(self, task: Task, send: Send) -> None:
        """Trains one task and journals the attempt; an exception of the trainer is an outcome, not an error."""
        from tracking.journal import JournalHeldError, start_attempt

        order, trial = self._order, task.trial
        try:
            self._prepare(trial.data)
        except StudyError as error:
            send(Refused(message=str(error)))
            return
        try:
            journal = start_attempt(
                order.paths,
                order.study,
                trial,
                cost=task.cost,
                budget_core_hours=order.budget_core_hours,
                code_version=order.code_version,
                device=device_name(),
            )
        except JournalHeldError:
            send(Held(trial_id=trial.id))
            return
        program = program_of(trial)
        print(f"---- {trial.name} {trial.id}", file=sys.stderr, flush=True)
        send(Started(trial_id=trial.id, worker=self._name, is_compiling=program not in self._programs))
        last: Progress | None = None

        def report(progress: Progress) -> None:
            nonlocal last
            last = progress
            journal.progress(progress)
            send(Moved(trial_id=trial.id, progress=progress))

        try:
            outcome = self._train(
                trial,
                data_dir=order.paths.data_dir,
                checkpoint_dir=order.paths.checkpoint_dir(order.study, trial.id),
                report=report,
            )
            self._programs.add(program)
        except Exception:
            outcome = failed(traceback.format_exc(), last)
            print(outcome.error, file=sys.stderr, flush=True)
        journal.end(outcome)
        journal.close()
        if outcome.status is not Status.FAILED:  # only now: a kill before the journal's last line must find it
            shutil.rmtree(order.paths.checkpoint_dir(order.study, trial.id), ignore_errors=True)
        sys.stdout.flush()
        send(Ended(trial_id=trial.id, outcome=outcome))

    def _prepare(self, data: DataSpec) -> None:
        if data in self._prepared:
            return
        prepare: Callable[..., None] | None = getattr(self._module, "prepare_data", None)
        if prepare is not None:
            prepare(data, self._order.paths.data_dir)
        self._prepared.add(data)


def failed(error: str, last: Progress | None) -> Outcome:
    """Returns the outcome of an attempt that raised, after its `last` report."""
    return Outcome(
        status=Status.FAILED,
        steps=last.step if last else 0,
        val_loss=None,
        selection_loss=None,
        train_loss=last.train_loss if last else None,
        wall_s=last.wall_s if last else 0.0,
        compile_s=0.0,
        error=error,
    )


def device_name() -> str:
    """Returns what trials of this process run on, as JAX names it; `python` where the trainer does not use JAX."""
    jax: Any = sys.modules.get("jax")
    return str(jax.devices()[0].device_kind) if jax is not None else "python"


def main(argv: list[str] | None = None) -> int:
    """Runs tasks from stdin; the process ends with it. Returns an exit code where it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m launcher.worker", description=__doc__)
    parser.add_argument("--name", default="worker")
    parser.add_argument("--parent", type=int, required=True, help="process without which this one ends")
    parser.add_argument("--core", type=int, help="the processor core to stay on")
    args = parser.parse_args(argv)
    _die_with(args.parent)
    if args.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    out = _claim_stdout()
    lines = _read_lines()

    def send(event: Event | Ready) -> None:
        try:
            out.write((encode_event(event) + "\n").encode())
            out.flush()
        except OSError:
            # The driver is gone. Nothing may be recorded as a failure of the trial for that.
            os._exit(0)

    try:
        desk = Desk(decode_order(lines.get()), name=args.name)
    except StudyError as error:
        send(Refused(message=str(error)))
        return 2
    send(Ready(device=device_name()))
    while True:
        desk.run(decode_task(lines.get()), send)


def _claim_stdout() -> BinaryIO:
    """Returns the protocol's own stream and sends everything else that writes to stdout into the log."""
    protocol = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    return protocol


def _read_lines() -> queue.Queue[str]:
    """Returns the lines of stdin as they come; its end ends the process at once, in the middle of a trial too."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, where the kernel offers it (Linux)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # <linux/prctl.h>
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
