"""What an array task of Slurm runs: submitit calls it by name with the place of its pack; nothing else is pickled.

Slurm tells a job that its time is up, or that another takes its place, with SIGUSR2. submitit would save and requeue in
the middle of a step; here the signal is only noted, every host saves at the same step boundary, and then submitit's own
handler requeues the job. A requeue without a signal (a node died, scontrol requeue) begins again from the checkpoint.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.helpers import DelayedSubmission

from launcher.contract.backend import Stop

MAX_STARTS_WITHOUT_PROGRESS = 5
"""A job that was requeued so often without one more event is not requeued again."""


@dataclass(frozen=True, kw_only=True)
class PackJob:
    """One pack of a batch as submitit's function: two values, which any version of the checkout can read."""

    folder: Path
    """The batch's."""
    place: int

    def __call__(self) -> None:
        """Runs the pack; leaves the job requeued where it had to make room before the end."""
        from launcher.contract.batch_folder import Batch
        from launcher.work.desk import Desk
        from launcher.work.hosts import meet, part
        from launcher.work.pack_job import run_pack

        noted = _NotedSignal()
        hosts = meet(
            int(os.environ.get("SLURM_PROCID", "0")),
            int(os.environ.get("SLURM_NTASKS", "1")),
            self.folder / f"rendezvous-{self.place}-{_start_name()}",
        )
        order = Batch(folder=self.folder).order()
        worker = f"job {_job_name()} on {os.environ.get('SLURMD_NODENAME', 'a node')}"
        is_done = run_pack(
            self.folder,
            self.place,
            open_desk=lambda hosts: Desk(order, name=worker, hosts=hosts),
            worker=worker,
            hosts=hosts,
            should_stop=noted.stop,
        )
        part(hosts)
        if is_done:
            return
        if hosts.is_leader:
            if _starts_in_vain(self.folder, self.place) >= MAX_STARTS_WITHOUT_PROGRESS:
                sys.exit(1)  # and with it, its companions: the driver hears that the job is gone
            noted.hand_on()  # saves nothing more, requeues, and ends this process
        while not hosts.is_leader:
            time.sleep(60.0)  # the requeue ends this process with the leader's

    def checkpoint(self) -> DelayedSubmission:
        """Returns what the requeued job shall run: the same, for all state is in checkpoints and journals."""
        return DelayedSubmission(self)


class _NotedSignal:
    """SIGUSR2, noted instead of acted upon."""

    def __init__(self) -> None:
        self._is_noted = False
        self._submitits: Callable[[int, FrameType | None], Any] | int | None = signal.getsignal(signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._is_noted = True

    def stop(self) -> Stop | None:
        return Stop.MAKE_ROOM if self._is_noted else None

    def hand_on(self) -> None:
        """Calls the handler that submitit had put there."""
        if callable(self._submitits):
            self._submitits(signal.SIGUSR2, None)
        sys.exit(1)


def _job_name() -> str:
    array, place = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{place}" if array else os.environ.get("SLURM_JOB_ID", "?")


def _start_name() -> str:
    """Returns what tells this start of the job from earlier ones."""
    return f"{os.environ.get('SLURM_JOB_ID', '0')}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def _starts_in_vain(folder: Path, place: int) -> int:
    """Returns how many starts of the job, to the last, have brought no point of any curve and saved no further step."""
    from launcher.contract.backend import Ended, Moved, Paused
    from launcher.contract.batch_folder import Batch, Inbox
    from launcher.contract.wire import Attached

    starts, saved_step = 0, 0
    for event in Inbox(Batch(folder=folder)).read_pack(place):
        if isinstance(event, Attached):
            starts += 1
        elif isinstance(event, (Moved, Ended)):
            starts = saved_step = 0
        elif isinstance(event, Paused) and event.saved_step > saved_step:
            starts, saved_step = 0, event.saved_step
    return starts
