"""What a driver and the jobs of a cluster tell one another: files in a shared folder, no connection between them.

A batch is a folder: the order, one pack of tasks a line, and for each pack that has been started a file of events, to
which its job appends. Either side may die at any time: what is written stays, and what is torn is passed over.
"""

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from launcher.contract.backend import Order, Task
from launcher.contract.wire import (
    Message,
    decode_event,
    decode_order,
    decode_pack,
    encode_event,
    encode_order,
    encode_pack,
)

_log = logging.getLogger(__name__)

_ORDER, _PACKS, _CLUSTER, _JOB, _CLOSED, _EVENTS = "order.json", "packs.jsonl", "cluster", "job", "closed", "events"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A folder with packs that were handed to a cluster together."""

    folder: Path

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits, which no other batch has."""
        return self.folder.name

    def order(self) -> Order:
        """Returns what its tasks share."""
        return decode_order((self.folder / _ORDER).read_text())

    def packs(self) -> list[tuple[Task, ...]]:
        """Returns the packs, in the order of their places."""
        lines = (self.folder / _PACKS).read_text().splitlines()
        return [decode_pack(line) for line in lines]

    def pack(self, place: int) -> tuple[Task, ...]:
        """Returns one pack without reading the others' tasks."""
        with (self.folder / _PACKS).open() as lines:
            for number, line in enumerate(lines):
                if number == place:
                    return decode_pack(line)
        raise IndexError(f"batch {self.name} has no pack {place}")

    def cluster(self) -> str:
        """Returns the kind of cluster it was written for."""
        return (self.folder / _CLUSTER).read_text()

    @property
    def events_dir(self) -> Path:
        """The folder of the jobs' events, a file for each pack that was started."""
        return self.folder / _EVENTS

    @property
    def logs_dir(self) -> Path:
        """The folder of what jobs print."""
        return self.folder / "logs"

    def job(self) -> str | None:
        """Returns the cluster's name of the job that carries the batch; None where it never got one."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / _JOB).read_text().strip()
        return None

    def note_job(self, job: str) -> None:
        """Writes down the cluster's name of the job, whole or not at all."""
        unfinished = self.folder / f"{_JOB}.new"
        unfinished.write_text(job)
        unfinished.replace(self.folder / _JOB)

    def close(self) -> None:
        """Notes that nothing more comes of the batch, so that no later driver looks at it."""
        (self.folder / _CLOSED).touch()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more comes of it."""
        return (self.folder / _CLOSED).exists()


def write_batch(batches_dir: Path, order: Order, packs: Sequence[Sequence[Task]], *, cluster: str) -> Batch:
    """Returns a new batch for a kind of cluster; its name appears only once it is complete."""
    batch = Batch(folder=batches_dir / uuid.uuid4().hex[:12])
    unfinished = batches_dir / f"{batch.name}.new"
    (unfinished / _EVENTS).mkdir(parents=True)
    (unfinished / _ORDER).write_text(encode_order(order))
    (unfinished / _CLUSTER).write_text(cluster)
    with (unfinished / _PACKS).open("w") as lines:
        for pack in packs:
            lines.write(encode_pack(pack) + "\n")
    unfinished.replace(batch.folder)
    return batch


def open_batches(batches_dir: Path, *, cluster: str) -> list[Batch]:
    """Returns the batches of a kind of cluster of which something may still come."""
    if not batches_dir.is_dir():
        return []
    found = (Batch(folder=path) for path in sorted(batches_dir.iterdir()) if path.is_dir() and path.suffix != ".new")
    return [batch for batch in found if not batch.is_closed and batch.cluster() == cluster]


class Outbox:
    """A job's side: appends the events of one pack."""

    def __init__(self, batch: Batch, place: int) -> None:
        self._descriptor = os.open(batch.events_dir / f"{place}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._needs_break = os.fstat(self._descriptor).st_size > 0
        self._waiting: list[bytes] = []

    def send(self, event: Message) -> None:
        """Appends an event. A full disk must not end the trial: what could not be written goes out with the next."""
        self._waiting.append(encode_event(event).encode() + b"\n")
        self._write()

    def flush(self, patience_s: float) -> None:
        """Tries again for so long to write what waits."""
        deadline = time.monotonic() + patience_s
        while self._waiting and time.monotonic() < deadline:
            time.sleep(min(1.0, patience_s))
            self._write()

    def _write(self) -> None:
        try:
            while self._waiting:
                # This job, or an earlier start of it, may have stopped in the middle of a line.
                line = (b"\n" if self._needs_break else b"") + self._waiting[0]
                self._needs_break = True
                if os.write(self._descriptor, line) == len(line):
                    self._needs_break = False
                    self._waiting.pop(0)
        except OSError as error:
            _log.warning("an event waits for room on the disk: %s", error)

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


class Inbox:
    """The driver's side: reads what the jobs of one batch have written since the last look."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._offsets: dict[int, int] = {}
        self._finished: set[int] = set()

    def finish(self, place: int) -> None:
        """Looks at a pack's file no more."""
        self._finished.add(place)
        self._offsets.pop(place, None)

    def read(self) -> list[tuple[int, Message]]:
        """Returns the new events of all packs, each with its pack's place."""
        found: list[tuple[int, Message]] = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._batch.events_dir) as entries:
            for entry in entries:
                place = int(entry.name.partition(".")[0])
                if place not in self._finished and entry.stat().st_size > self._offsets.get(place, 0):
                    found += [(place, event) for event in self._tail(place, Path(entry.path))]
        return found

    def read_pack(self, place: int) -> list[Message]:
        """Returns the new events of one pack."""
        path = self._batch.events_dir / f"{place}.jsonl"
        return self._tail(place, path) if path.exists() else []

    def _tail(self, place: int, path: Path) -> list[Message]:
        offset = self._offsets.get(place, 0)
        with path.open("rb") as file:
            file.seek(offset)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return []
        self._offsets[place] = offset + len(whole) + 1
        events: list[Message] = []
        for line in whole.split(b"\n"):
            if not line:
                continue
            try:
                events.append(decode_event(line.decode()))
            except (ValueError, KeyError, TypeError):
                _log.warning("torn line in %s", path)
        return events
