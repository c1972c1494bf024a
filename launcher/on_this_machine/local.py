"""The local back end: a pool of warm worker processes, one for each core or accelerator of this machine."""

import importlib.util
import os
import selectors
import time
from collections.abc import Sequence
from pathlib import Path

from launcher.contract.backend import HANG_GRACE_S, AttemptOver, Broken, Event, Lost, Order, Refused, Task
from launcher.contract.program import program_of
from launcher.on_this_machine.dispatch import Queued, choose, packs_among, split_for
from launcher.on_this_machine.warm_process import Slot, WarmProcess, read_slice
from launcher.work.worker_environment import usable_cores
from sweeps.errors import StudyError

OVERDUE_CHECK_S = 5.0
MAX_FALSE_STARTS = 5
"""Workers killed from outside before they were ready, one after the other, until the pool gives up."""


class LocalBackend:
    """Hands tasks, longest first, to warm workers; a worker that dies is replaced and what it had is reported lost."""

    def __init__(self, order: Order, *, workers: int | None = None, gpus: int = 1) -> None:
        self._order = order
        self._slots = local_slots(workers, gpus=gpus)
        self._workers: dict[int, WarmProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._waiting: list[Queued] = []
        self._jobs = 0
        self._printed: dict[str, list[tuple[Path, int, int]]] = {}
        self._false_starts = 0
        self._is_closed = False

    @property
    def silence(self) -> None:
        """Nothing keeps this machine."""

    def submit(self, tasks: Sequence[Task]) -> str:
        """Returns the job's name. Its tasks join the one queue, one by one unless packs are asked for."""
        self._jobs += 1
        job = f"job-{self._jobs}"
        self._printed[job] = []
        packing = "separate" if self._order.command else self._order.compute.packing
        is_on_cpu = all(slot.core is not None for slot in self._slots)
        for pack in packs_among(tasks, packing=packing, is_on_cpu=is_on_cpu):
            self._waiting.append(Queued(tasks=pack, job=job, program=program_of(pack[0].trial)))
        return job

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns what happened; starts workers and hands out tasks as needed."""
        deadline = time.monotonic() + timeout_s
        events: list[Event] = []
        while not events:
            self._staff()
            self._hand_out()
            events += self._end_overdue()
            left = deadline - time.monotonic()
            if left <= 0 or not self._workers:
                break
            for key, _ in self._selector.select(min(left, OVERDUE_CHECK_S)):
                events += self._read(key.data)
        self._hand_out()
        return events

    def cancel(self, job: str) -> None:
        """Drops the job's tasks; a worker that runs one of them is killed and replaced."""
        self._waiting = [queued for queued in self._waiting if queued.job != job]
        for worker in list(self._workers.values()):
            if worker.queued is not None and worker.queued.job == job:
                self._dismiss(worker)

    def logs(self, job: str) -> str:
        """Returns what the job's tasks have printed, attempt by attempt."""
        done = [read_slice(path, start, end) for path, start, end in self._printed[job]]
        running = [worker.printed() for worker in self._workers.values() if worker.queued and worker.queued.job == job]
        return "".join(done + running)

    def underway(self) -> Sequence[Task]:
        """Returns nothing: workers die with their driver."""
        return ()

    def stop(self) -> None:
        """Drops what waits and kills all workers: whatever they were at is in its journal and its checkpoint."""
        self._waiting.clear()
        for worker in list(self._workers.values()):
            self._dismiss(worker)

    def close(self) -> None:
        """Stops, for good."""
        self._is_closed = True
        self.stop()
        self._selector.close()

    def pids(self) -> tuple[int, ...]:
        """Returns the process numbers of the workers."""
        return tuple(worker.pid for worker in self._workers.values())

    def _staff(self) -> None:
        """Starts workers while more tasks are there than workers, and slots are free."""
        busy = sum(worker.queued is not None for worker in self._workers.values())
        if self._order.compute.packing == "auto":
            self._waiting = split_for(self._waiting, len(self._slots) - busy)
        wanted = min(len(self._slots), len(self._waiting) + busy)
        for slot in self._slots:
            if len(self._workers) >= wanted or self._is_closed:
                return
            if slot.number not in self._workers:
                worker = WarmProcess(self._order, slot)
                self._workers[slot.number] = worker
                self._selector.register(worker, selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        for worker in self._workers.values():
            if not worker.is_ready or worker.queued is not None:
                continue
            compiling = {
                other.queued.program
                for other in self._workers.values()
                if other.queued is not None and other.queued.program not in other.warm
            }
            place = choose(self._waiting, warm=worker.warm, compiling=compiling)
            if place is None:
                return
            worker.assign(self._waiting.pop(place))

    def _read(self, worker: WarmProcess) -> list[Event]:
        events, is_there = worker.read()
        if worker.is_ready:
            self._false_starts = 0
        for event in events:
            if isinstance(event, AttemptOver):
                worker.owed.pop(event.trial_id, None)
            if isinstance(event, Refused) or (isinstance(event, AttemptOver) and not worker.owed):
                self._file_log(worker)
                worker.queued = None
        return events if is_there else events + self._bury(worker)

    def _end_overdue(self) -> list[Event]:
        """Kills workers whose trial has long passed its limit without ending by itself: it hangs."""
        events: list[Event] = []
        for worker in list(self._workers.values()):
            queued = worker.queued
            if queued is None or queued.limit_s is None:
                continue
            past_s = worker.busy_s() - queued.limit_s
            if past_s > HANG_GRACE_S:
                reason = f"{worker.slot.name} hung: no end {past_s:.0f} s after the limit of {queued.limit_s:.0f} s"
                self._dismiss(worker)
                events += [Lost(trial_id=trial_id, reason=reason) for trial_id in worker.owed]
        return events

    def _bury(self, worker: WarmProcess) -> list[Event]:
        """Returns what follows from the end of a worker's output."""
        status = worker.status()
        queued, was_ready, tail = worker.queued, worker.is_ready, worker.printed()[-2000:]
        self._dismiss(worker)
        cause = f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
        reason = f"{worker.slot.name} {cause}"
        if queued is not None:
            return [Lost(trial_id=trial_id, reason=reason) for trial_id in worker.owed]
        if was_ready:
            return []
        self._false_starts += 1
        if status < 0 and self._false_starts < MAX_FALSE_STARTS:
            return []
        return [Broken(reason=f"{reason} before it was ready; its log {worker.log_path} ends:\n{tail}")]

    def _dismiss(self, worker: WarmProcess) -> None:
        self._selector.unregister(worker)
        worker.end()
        self._file_log(worker)
        worker.queued = None
        del self._workers[worker.slot.number]

    def _file_log(self, worker: WarmProcess) -> None:
        if worker.queued is not None:
            end = worker.log_path.stat().st_size
            self._printed[worker.queued.job].append((worker.log_path, worker.log_start, end))


def local_slots(workers: int | None, *, gpus: int = 1) -> tuple[Slot, ...]:
    """Returns where workers run: one on each group of NVIDIA devices, one on the TPU, else one on each usable core.

    Args:
        workers: how many instead; more than there are groups or cores share them.
        gpus: NVIDIA devices of a group; the last ones stay idle where they make no whole group.

    Raises:
        StudyError: there are fewer devices than one group has.
    """
    devices = _nvidia_devices()
    if devices:
        starts = range(0, len(devices) - gpus + 1, gpus) if gpus > 0 else ()
        groups = [",".join(devices[first : first + gpus]) for first in starts]
        if not groups:
            raise StudyError(
                f"cluster.gpus={gpus}, but JAX can use {len(devices)} NVIDIA devices here "
                f"(try: cluster.gpus={len(devices)})"
            )
        return tuple(Slot(number=number, gpu=groups[number % len(groups)]) for number in range(workers or len(groups)))
    if _has_tpu():  # one process holds all chips of a host
        return (Slot(number=0),)
    cores = usable_cores()
    return tuple(Slot(number=number, core=cores[number % len(cores)]) for number in range(workers or len(cores)))


def _has_tpu() -> bool:
    if os.environ.get("JAX_PLATFORMS", "") == "cpu" or importlib.util.find_spec("libtpu") is None:
        return False
    return any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev/vfio").glob("[0-9]*"))


def _nvidia_devices() -> tuple[str, ...]:
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if os.environ.get("JAX_PLATFORMS", "") == "cpu" or not any(map(importlib.util.find_spec, plugins)):
        return ()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return tuple(part.strip() for part in shown.split(",") if part.strip() not in ("", "-1"))
    return tuple(sorted(path.name[6:] for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit()))
