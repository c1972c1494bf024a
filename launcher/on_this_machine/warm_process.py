"""One warm worker process as its driver sees it: started once, fed tasks, read without blocking, ended for certain."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.contract.backend import Ended, Event, Held, Moved, Order, Started, Task, TrunkGone
from launcher.contract.wire import Attached, Ready, decode_event, encode_order, encode_pack
from launcher.on_this_machine.dispatch import Queued
from launcher.work.worker_environment import worker_environment


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place where one worker runs: a processor core, or an accelerator with its host thread anywhere."""

    number: int
    core: int | None = None
    gpu: str | None = None
    """As CUDA_VISIBLE_DEVICES names them: numbers or UUIDs."""

    @property
    def name(self) -> str:
        """worker-0, worker-1 ...; also the name of its log file."""
        return f"worker-{self.number}"


class WarmProcess:
    """A running worker, the tasks it has, and the programs it has compiled."""

    def __init__(self, order: Order, slot: Slot) -> None:
        self.slot = slot
        self.log_path = order.log_dir / f"{slot.name}.log"
        self.is_ready = False
        self.is_compiling = False
        self.queued: Queued | None = None
        self.owed: dict[str, Task] = {}
        """Those of its tasks that have not ended, by the ids of their trials."""
        self.log_start = 0
        self._assigned_s = 0.0
        self.warm: set[str] = set()
        self._rest = b""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-P",
            "-m",
            "launcher.work.worker",
            "--name",
            slot.name,
            "--parent",
            str(os.getpid()),
        ]
        if slot.core is not None:
            command += ["--core", str(slot.core)]
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the driver, which then ends the workers in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    **worker_environment(order.paths.compile_cache, is_on_cpu=slot.core is not None),
                    **({} if slot.gpu is None else {"CUDA_VISIBLE_DEVICES": slot.gpu}),
                },
            )
        os.set_blocking(self.fileno(), False)
        self._write(encode_order(order))

    def fileno(self) -> int:
        """Returns the descriptor on which events arrive."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def pid(self) -> int:
        """The worker's process number."""
        return self._process.pid

    def assign(self, queued: Queued) -> None:
        """Hands the worker its next task, or pack."""
        self.queued, self.log_start = queued, self.log_path.stat().st_size
        self.owed = {task.trial.id: task for task in queued.tasks}
        self._assigned_s = time.monotonic()
        self._write(encode_pack(queued.tasks))

    def busy_s(self) -> float:
        """Returns how long the worker has had its present task [s]."""
        return time.monotonic() - self._assigned_s

    def read(self) -> tuple[list[Event], bool]:
        """Returns the events that have arrived, and whether the worker is still there."""
        try:
            chunk = os.read(self.fileno(), 1 << 20)
        except BlockingIOError:
            return [], True
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = [event for line in lines if (event := self._take(decode_event(line.decode()))) is not None]
        return events, bool(chunk)

    def end(self) -> int:
        """Kills the worker with all it has started and waits; returns its exit status, negative for a signal."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        return status

    def status(self) -> int:
        """Returns the exit status of a worker whose output has ended."""
        try:
            return self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return self.end()

    def printed(self) -> str:
        """Returns what the worker has printed since it took its present task."""
        return read_slice(self.log_path, self.log_start, None)

    def _take(self, event: Event | Ready | Attached) -> Event | None:
        match event:
            case Ready():
                self.is_ready = True
                return None
            case Attached():
                return None
            case Started():
                self.is_compiling = event.is_compiling
            case Moved() | Ended() | TrunkGone() | Held():
                if self.is_compiling and self.queued is not None:
                    self.warm.add(self.queued.program)
                self.is_compiling = False
            case _:
                pass
        return event

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        # A worker that has died meanwhile is noticed where its output ends.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()


def read_slice(path: Path, start: int, end: int | None) -> str:
    """Returns the text of a log file between two byte positions; what is no UTF-8 is shown as such."""
    with path.open("rb") as log:
        log.seek(start)
        return log.read(-1 if end is None else end - start).decode(errors="replace")
