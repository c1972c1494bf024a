"""Append-only journals: one file of JSON lines for each attempt at a trial, written by the process that trains it.

The first line says what was started, then come the points of the curve, then how it ended. Whoever writes holds a lock
on the file, and the kernel lets go of it when that process dies, however it dies: so a reader can tell a run that goes
on from one that was killed.
"""

import contextlib
import dataclasses
import fcntl
import os
import socket
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sweeps.canonical import to_jsonable
from sweeps.cost import Cost
from sweeps.curve import unreported
from sweeps.record import Outcome, Progress, RunRecord, Status
from sweeps.trial import Trial
from tracking.attempt_file import Attempt, attempt_files, file_name, is_written, lock, read_attempt
from tracking.paths import ProjectPaths
from tracking.record_json import dump_line, outcome_fields, progress_fields

FSYNC_INTERVAL_S = 1.0
"""Points of a curve reach the disk at latest with the first point after this time; a start and an end at once."""
START_LOCK = ".start.lock"


class JournalHeldError(RuntimeError):
    """A living process is writing this trial's journal, or has ended it: it must not be trained a second time."""


class AttemptJournal:
    """The journal of one attempt, open for writing."""

    def __init__(self, descriptor: int, path: Path, attempt: int) -> None:
        self._descriptor: int | None = descriptor
        self._synced_s = time.monotonic()
        self.path = path
        self.attempt = attempt
        """Counted from 1."""

    def progress(self, progress: Progress) -> None:
        """Appends one point of the curve; a killed process keeps it, a machine without power may lose the last ones."""
        descriptor = self._open()
        _append(descriptor, {"event": "progress", **progress_fields(progress)})
        if time.monotonic() - self._synced_s >= FSYNC_INTERVAL_S:
            os.fsync(descriptor)
            self._synced_s = time.monotonic()

    def end(self, outcome: Outcome) -> None:
        """Appends how the attempt ended; it is on the disk when this returns."""
        descriptor = self._open()
        _append(descriptor, {"event": "ended", **outcome_fields(outcome), "unix_s": time.time()})
        os.fsync(descriptor)

    def close(self) -> None:
        """Lets go of the journal; without an end before, the attempt counts as killed. Harmless when repeated."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"the journal {self.path.name} is closed")
        return self._descriptor

    def __enter__(self) -> "AttemptJournal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_attempt(
    paths: ProjectPaths,
    study: str,
    trial: Trial,
    *,
    cost: Cost,
    budget_core_hours: float | None,
    code_version: str,
    device: str,
) -> AttemptJournal:
    """Returns the journal of the next attempt at a trial, its start on the disk.

    Raises:
        JournalHeldError: a living process writes the journal of an earlier attempt, or one has settled the trial.
        StudyError: the file system has no locks.
    """
    folder = paths.journal_dir(study)
    folder.mkdir(parents=True, exist_ok=True)
    started: dict[str, Any] = {
        "event": "started",
        "study": study,
        "trial": to_jsonable(trial),
        "cost": vars(cost),
        "budget_core_hours": budget_core_hours,
        "code_version": code_version,
        "device": device,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "unix_s": time.time(),
    }
    # Between making a file and locking it, another starter would take it for one whose writer is dead.
    with _starting_alone(folder):
        numbers = attempt_files(folder).get(trial.id, [])
        for number in numbers:
            if is_written(path := folder / file_name(trial.id, number)):
                raise JournalHeldError(f"{trial.name} is being trained by another process, which writes {path}")
            earlier = read_attempt(path, curves=False)
            if earlier is not None and _is_final(earlier.outcome):
                raise JournalHeldError(f"{trial.name} was trained to its end already; {path} says how")
        attempt = max(numbers, default=0) + 1
        return _begin(folder / file_name(trial.id, attempt), attempt, {**started, "attempt": attempt})


@contextlib.contextmanager
def _starting_alone(folder: Path) -> Generator[None]:
    descriptor = os.open(folder / START_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _begin(path: Path, attempt: int, started: Mapping[str, Any]) -> AttemptJournal:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        _append(descriptor, started)
        os.fsync(descriptor)
        _sync_folder(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return AttemptJournal(descriptor, path, attempt)


def _append(descriptor: int, event: Mapping[str, Any]) -> None:
    line = (dump_line(event) + "\n").encode()
    while line:
        line = line[os.write(descriptor, line) :]


def _sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk: without it a new file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_journals(paths: ProjectPaths, study: str, *, curves: bool = True) -> list[RunRecord]:
    """Returns one record for each trial that has a readable journal, oldest first; none where there is no folder.

    Args:
        paths: where the project lies.
        study: whose journals are read.
        curves: whether records carry their points, which are most of what there is to read.
    """
    folder = paths.journal_dir(study)
    records: list[RunRecord] = []
    for trial_id, numbers in attempt_files(folder).items():
        # What several attempts have repeated is known from their points only.
        with_points = curves or len(numbers) > 1
        read = (read_attempt(folder / file_name(trial_id, number), curves=with_points) for number in numbers)
        attempts = [attempt for attempt in read if attempt is not None]
        if attempts:
            record = fold(attempts)
            records.append(record if curves else dataclasses.replace(record, curve=(), attempt_step=None))
    return sorted(records, key=lambda record: record.started_unix_s)


def read_record(paths: ProjectPaths, study: str, trial_id: str) -> RunRecord | None:
    """Returns what the journals say of one trial, without its curve; None where there is none."""
    folder = paths.journal_dir(study)
    attempts: list[Attempt] = []
    number = 1
    while (path := folder / file_name(trial_id, number)).exists():  # the folder may hold ten thousand others
        attempt = read_attempt(path, curves=False)
        attempts += [] if attempt is None else [attempt]
        number += 1
    return fold(attempts) if attempts else None


def fold(attempts: Sequence[Attempt]) -> RunRecord:
    """Returns the record of a trial after these attempts at it, in their order.

    What comes after a finished or diverged attempt counts as an attempt and changes nothing else.
    """
    settling = (n for n, attempt in enumerate(attempts) if _is_final(attempt.outcome))
    told = attempts[: next(settling, len(attempts)) + 1]
    first, last = told[0], told[-1]
    outcomes = [attempt.outcome for attempt in told if attempt.outcome is not None]
    record = RunRecord(
        trial=last.trial,
        cost=last.cost,
        budget_core_hours=last.budget_core_hours,
        status=_status(last),
        outcome=outcomes[-1] if outcomes else None,
        curve=join_curves(attempt.points for attempt in told),
        attempts=len(attempts),
        code_version=last.code_version,
        device=last.device,
        started_unix_s=first.started_unix_s,
        ended_unix_s=last.ended_unix_s,
        repeated_steps=repeated_steps([attempt.points for attempt in told]),
        attempt_step=last.points[-1].step if last.points else None,
    )
    return dataclasses.replace(record, unseen_steps=unseen_steps(told, done=record.steps_done or 0))


def _is_final(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status.is_final


def _status(last: Attempt) -> Status:
    if last.outcome is not None:
        return last.outcome.status
    return Status.RUNNING if last.is_written else Status.KILLED


def unseen_steps(attempts: Sequence[Attempt], *, done: int) -> int:
    """Returns how many steps attempts may have trained after their last report that died, with a word or without.

    Args:
        attempts: all at one trial, in their order.
        done: the step that their record says the trial has come to: what was saved beyond it, before an attempt that
            failed without a report, is unseen too.
    """
    front, saved, unseen = 0, 0, 0
    for attempt in attempts:
        last = attempt.points[-1].step if attempt.points else None
        outcome = attempt.outcome
        fell = outcome is not None and outcome.status in (Status.FAILED, Status.OUT_OF_MEMORY)
        if fell or (outcome is None and not attempt.is_written):
            unseen += unreported(attempt.trial, last, front=front, began=saved)
        if outcome is not None and outcome.status in (Status.KILLED, Status.STOPPED):
            saved = outcome.steps
        front = max(front, last or 0, outcome.steps if outcome else 0)
    return unseen + max(0, saved - done)


def repeated_steps(curves: Sequence[Sequence[Progress]]) -> int:
    """Returns how many steps later attempts trained again, as far as points were reported.

    Where an attempt began is not journalled: it is taken to be the last point before its own first one, at the latest.
    Steps taken over from a shorter run are never repeated; an attempt that took over others than the one before it has
    nothing left of that.
    """
    reached, repeated, shared = 0, 0, 0
    steps: list[int] = []
    for curve in curves:
        if not curve:
            continue
        began = max((step for step in steps if step < curve[0].step), default=0)
        if curve[0].shared_steps != shared:
            began = 0
        repeated += max(0, reached - max(began, shared))
        shared = curve[0].shared_steps
        steps = [step for step in steps if step < curve[0].step] + [point.step for point in curve]
        reached = steps[-1]
    return repeated


def join_curves(curves: Iterable[Sequence[Progress]]) -> tuple[Progress, ...]:
    """Returns one curve in order of step; a later attempt's points replace earlier ones from its first step on."""
    joined: list[Progress] = []
    for point in (point for curve in curves for point in curve):
        while joined and joined[-1].step >= point.step:
            joined.pop()
        joined.append(point)
    return tuple(joined)
