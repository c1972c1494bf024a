"""A process of Ray that runs packs, one after the other: it keeps its desk, and with it every compiled program."""

import contextlib
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType

from launcher.contract.backend import HANG_GRACE_S, AttemptOver, Lost, Order, Started, Stop
from launcher.contract.batch_folder import Batch, Inbox, Outbox
from launcher.on_ray.ray_tape import CANCELLED, OUTRUN, is_marked, mark
from launcher.work.desk import Desk
from launcher.work.hosts import Hosts, meet
from launcher.work.pack_job import run_pack

LOOK_S = 0.3
"""Between two looks at the marks of the running pack."""
CANCEL_GRACE_S = 4.0
"""A cancelled pack that has not ended by then is killed with its process."""


class Seat:
    """Runs packs in this process; several seats, one a host, run one pack together."""

    def __init__(self, rank: int = 0, count: int = 1, rendezvous: str = "") -> None:
        """Notes who belongs together.

        Args:
            rank: 0 for the one that journals and reports.
            count: how many seats run each pack.
            rendezvous: a file that no other group of seats has used.
        """
        self._rank, self._count, self._rendezvous = rank, count, rendezvous
        self._hosts: Hosts | None = None
        self._desk: Desk | None = None
        self._order: Order | None = None

    def run(self, folder: str, place: int, is_complete: Callable[[], bool] = lambda: True) -> None:
        """Runs a pack to its end; what it prints goes to the pack's log.

        Args:
            folder: the batch's.
            place: which of its packs.
            is_complete: whether the other seats are still there; this process ends where they are not.
        """
        batch = Batch(folder=Path(folder))
        if is_marked(batch.folder, place, CANCELLED):
            return
        name = f"{place}.log" if self._rank == 0 else f"{place}.host{self._rank}.log"
        with _printing_into(batch.logs_dir / name), _Guard(batch, place, is_complete) as guard:
            if self._hosts is None:
                self._hosts = meet(self._rank, self._count, Path(self._rendezvous))
            run_pack(
                batch.folder,
                place,
                open_desk=lambda hosts: self._desk_for(batch.order(), hosts),
                worker=worker_name(),
                hosts=self._hosts,
                should_stop=guard.asks,
            )

    def _desk_for(self, order: Order, hosts: Hosts) -> Desk:
        if self._desk is None or self._order != order:
            self._desk, self._order = Desk(order, name=worker_name(), hosts=hosts), order
        return self._desk


def worker_name() -> str:
    """Returns what people call this process."""
    return f"{socket.gethostname()}-{os.getpid()}"


class _Guard:
    """Looks after a running pack from a thread: sees marks and time limits, and ends what cannot be asked to end."""

    def __init__(self, batch: Batch, place: int, is_complete: Callable[[], bool]) -> None:
        self._batch, self._place, self._is_complete = batch, place, is_complete
        self._stop: Stop | None = None
        self._cancelled_s: float | None = None
        self._inbox = Inbox(batch)
        self._limits = {task.trial.id: task.limit_s for task in batch.pack(place) if task.limit_s is not None}
        self._under_way: dict[str, float] = {}
        """Trials that have started and not ended, with their limits [s]: a pack has the time of all of them."""
        self._since_s = 0.0
        """When the first of them started [monotonic s]."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def asks(self) -> Stop | None:
        """Returns why the running trial has to end, if it has to."""
        return self._stop

    def __enter__(self) -> "_Guard":
        if self._limits:
            self._inbox.read_pack(self._place)  # of earlier starts
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_S):
            now = time.monotonic()
            # A trial that is past stopping, or does not ask whether it should stop, ends with this process.
            if self._cancelled_s is None and is_marked(self._batch.folder, self._place, CANCELLED):
                self._stop, self._cancelled_s = Stop.MAKE_ROOM, now
            elif self._stop is None and is_marked(self._batch.folder, self._place, OUTRUN):
                self._stop = Stop.OUTRUN
            if self._cancelled_s is not None and now - self._cancelled_s > CANCEL_GRACE_S:
                end_process("the pack was cancelled and does not end")
            if not self._is_complete():
                end_process("a companion on another host has died")
            if self._limits:
                self._end_hung(now)

    def _end_hung(self, now: float) -> None:
        for event in self._inbox.read_pack(self._place):
            if isinstance(event, Started):
                self._since_s = self._since_s if self._under_way else now
                self._under_way[event.trial_id] = self._limits.get(event.trial_id) or math.inf
            elif isinstance(event, AttemptOver):
                self._under_way.pop(event.trial_id, None)
        limit_s = sum(self._under_way.values())
        if self._under_way and now > self._since_s + limit_s + HANG_GRACE_S:
            reason = f"{worker_name()} hung: no end {HANG_GRACE_S:.0f} s after the limit of {limit_s:.0f} s"
            with Outbox(self._batch, self._place) as outbox:
                for trial_id in self._under_way:
                    outbox.send(Lost(trial_id=trial_id, reason=reason))
            mark(self._batch.folder, self._place, CANCELLED)  # the next start of the pack would hang there again
            end_process(reason)


def end_process(reason: str) -> None:
    """Ends this process at once, from any thread; Ray notices and Tune acts on it."""
    os.write(2, f"{worker_name()} ends: {reason}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _printing_into(path: Path) -> Generator[None]:
    """Sends what this process prints, compiled code and child processes included, to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    streams = sys.stdout, sys.stderr
    with path.open("a", buffering=1, errors="replace") as log:
        for stream in streams:
            stream.flush()
        saved = os.dup(1), os.dup(2)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        # Ray's own stream objects may write elsewhere than to descriptors 1 and 2.
        sys.stdout = sys.stderr = log
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
