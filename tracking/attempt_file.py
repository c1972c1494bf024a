"""One attempt's journal as a reader finds it: possibly torn at its end, damaged, or still being written."""

import dataclasses
import errno
import fcntl
import json
import logging
import os
import re
import typing
from collections import defaultdict
from pathlib import Path
from typing import Any

from sweeps.cost import Cost
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress
from sweeps.trial import Trial
from tracking.record_json import PROGRESS_FIELDS, cost_from, float_or_none, outcome_from, progress_from, trial_from

_log = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"([0-9a-f]+)\.([1-9]\d*)\.jsonl", re.ASCII)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
PROGRESS_MARK = b'{"event":"progress"'
"""How the line of a point begins: a reader that wants no curve need not parse it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attempt's journal says."""

    trial: Trial
    cost: Cost
    budget_core_hours: float | None
    code_version: str
    device: str
    started_unix_s: float
    points: tuple[Progress, ...]
    """Empty when not asked for."""
    outcome: Outcome | None
    ended_unix_s: float | None
    is_written: bool
    """Whether a living process still writes it."""


def file_name(trial_id: str, attempt: int) -> str:
    """Returns the name of the journal of a trial's attempt, counted from 1."""
    return f"{trial_id}.{attempt}.jsonl"


def attempt_files(folder: Path) -> dict[str, list[int]]:
    """Returns the attempts that a folder has journals of, in order, by trial id; other files are passed over."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    try:
        names = os.listdir(folder)  # noqa: PTH208 -- names are all that is needed of ten thousand files
    except FileNotFoundError:
        return {}
    for name in names:
        if match := _FILE_NAME.fullmatch(name):
            found[match[1]].append(int(match[2]))
    return {trial_id: sorted(numbers) for trial_id, numbers in sorted(found.items())}


def lock(descriptor: int, operation: int) -> None:
    """Takes a lock on an open file; it goes with the last process that has the file open.

    Raises:
        BlockingIOError: somebody else holds it, and `operation` says not to wait.
        StudyError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise StudyError(
                "the file system of the runs/ folder has no file locks, without which two processes could train the "
                "same trial; put it on another one (type: LOGLOG_ROOT=/somewhere/else make sweep ...)"
            ) from error
        raise


def is_written(path: Path) -> bool:
    """Returns whether a living process has this journal open for writing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that readers do not take one another for the writer.
        lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_attempt(path: Path, *, curves: bool) -> Attempt | None:
    """Returns what a journal says, or None where it does not even say what was started.

    A torn last line is passed over in silence: its writer was killed or is at it. Any other damage is a warning.
    """
    content = _content(path)
    attempt = _parse(path, content, curves=curves)
    if attempt is None or attempt.outcome is not None:
        return attempt
    if is_written(path):
        return dataclasses.replace(attempt, is_written=True)
    # Its writer may have ended it since: what is read once the lock was found free is the last word.
    last_content = _content(path)
    return attempt if last_content == content else _parse(path, last_content, curves=curves)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(path: Path, content: bytes, *, curves: bool) -> Attempt | None:
    lines = content.split(b"\n")
    started: dict[str, Any] | None = None
    points: list[Progress] = []
    outcome: Outcome | None = None
    ended_unix_s: float | None = None
    damaged: list[str] = []
    for number, line in enumerate(lines[:-1], start=1):
        if not curves and line.startswith(PROGRESS_MARK):
            continue
        try:
            event = _event(line)
            kind = event.get("event")
            if kind == "progress":
                points.append(progress_from({name: event[name] for name in PROGRESS_FIELDS if name in event}))
            elif kind == "ended":
                ended_unix_s = float_or_none(event.pop("unix_s"))
                outcome = outcome_from({name: value for name, value in event.items() if name != "event"})
            elif kind == "started" and started is None:
                started = event
            else:
                raise ValueError(f"unknown event {kind!r}")
        except (ValueError, KeyError, TypeError) as error:
            damaged.append(f"line {number} ({error})")
    attempt: Attempt | None = None
    try:
        if started is not None:
            attempt = _attempt(started, points, outcome, ended_unix_s)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        damaged.append(f"its start ({error})")
    if damaged or (started is None and len(lines) > 1):
        what = f"{len(damaged)} damaged, first {damaged[0]}" if damaged else "no start"
        _log.warning("journal %s: %s; %s", path, what, "the rest is used" if attempt else "it is passed over")
    return attempt


def _event(line: bytes) -> dict[str, Any]:
    event: object = json.loads(line)
    if not isinstance(event, dict):
        raise ValueError("not an event")
    return typing.cast("dict[str, Any]", event)


def _attempt(
    started: dict[str, Any], points: list[Progress], outcome: Outcome | None, ended_unix_s: float | None
) -> Attempt:
    return Attempt(
        trial=trial_from(started["trial"]),
        cost=cost_from(started["cost"]),
        budget_core_hours=float_or_none(started["budget_core_hours"]),
        code_version=str(started["code_version"]),
        device=str(started["device"]),
        started_unix_s=float(started["unix_s"]),
        points=tuple(points),
        outcome=outcome,
        ended_unix_s=ended_unix_s,
        is_written=False,
    )
