"""The inline back end: everything in this process, one task at a time, for debuggers and small tests."""

import contextlib
import io
from collections import deque
from collections.abc import Sequence

from launcher.contract.backend import Event, Order, Task
from launcher.work.desk import Desk
from launcher.work.worker_environment import claim_environment


class InlineBackend:
    """Runs one task at each poll. Importing the trainer is what makes this process heavy; no other part of it does."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._desk: Desk | None = None
        self._waiting: deque[tuple[str, Task]] = deque()
        self._jobs = 0
        self._logs: dict[str, str] = {}

    @property
    def silence(self) -> None:
        """Nothing keeps this machine."""

    def submit(self, tasks: Sequence[Task]) -> str:
        """Returns the job's name; nothing runs before the next poll."""
        self._jobs += 1
        job = f"job-{self._jobs}"
        self._waiting.extend((job, task) for task in tasks)
        self._logs[job] = ""
        return job

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns all events of the next task, which it runs to its end, however long `timeout_s` is."""
        if not self._waiting:
            return ()
        job, task = self._waiting.popleft()
        if self._desk is None:
            claim_environment(self._order.paths.compile_cache)
            self._desk = Desk(self._order, name="inline")
        events: list[Event] = []
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                self._desk.run(task, events.append)
        finally:
            self._logs[job] += printed.getvalue()
        return events

    def cancel(self, job: str) -> None:
        """Drops the job's tasks; between two polls none is running."""
        self._waiting = deque(item for item in self._waiting if item[0] != job)

    def logs(self, job: str) -> str:
        """Returns what the job's tasks have printed."""
        return self._logs[job]

    def underway(self) -> Sequence[Task]:
        """Returns nothing: what ran in a process that died is dead."""
        return ()

    def stop(self) -> None:
        """Drops everything that waits."""
        self._waiting.clear()

    def close(self) -> None:
        """Drops everything that waits."""
        self.stop()
