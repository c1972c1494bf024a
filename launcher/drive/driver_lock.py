"""One driver at a time for a study: it alone writes the database and decides what runs."""

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path

from sweeps.errors import StudyError
from tracking.attempt_file import lock

BEAT_S = 2.0
WATCH_S = 10.0
"""A driver on another host, whose lock does not reach here, shows itself within this: it writes its beat more often."""
STALE_S = 30.0
"""A beat that is older than this, by the disk's own clock, belongs to a driver that has died."""
PROBE_S = 1.0
"""Somebody who only looks whether the lock is held holds it for a moment."""

_LOCK, _BEAT = "driver.lock", "driver.beat"


class StudyIsRunError(StudyError):
    """Another driver runs the study."""


@contextlib.contextmanager
def driver_lock(study_dir: Path, study: str, *, watch_s: float = WATCH_S) -> Generator[None]:
    """Holds the study's lock; it goes with the process, however that ends.

    Some shared disks keep locks on each host to themselves. So the lock also says on which host it is held, and where
    that is another one, its driver's beat is watched: one that goes on belongs to a living driver.

    Raises:
        StudyIsRunError: another process holds it.
        StudyError: the disk has no locks.
    """
    study_dir.mkdir(parents=True, exist_ok=True)
    with (study_dir / _LOCK).open("a+") as file:
        if not _has_locked(file.fileno()):
            raise _is_run_by(study, holder(study_dir) or "another process")
        known = _far_holder(study_dir)
        if known is not None and _is_fresh(study_dir) and _beats_on(study_dir, watch_s):
            raise _is_run_by(study, known)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        is_over = threading.Event()
        threading.Thread(target=_beat, args=(study_dir, is_over), name="beat", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()
            file.truncate(0)  # left in order: nobody need wait for a sign of life


def holder(study_dir: Path) -> str | None:
    """Returns who holds the lock, or held it when it died; None where it was given back."""
    with contextlib.suppress(FileNotFoundError):
        return (study_dir / _LOCK).read_text().strip() or None
    return None


def is_driven(study_dir: Path) -> bool:
    """Returns whether a driver of the study lives, on this host or, as far as its beat says, on another."""
    try:
        with (study_dir / _LOCK).open() as file:
            lock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return _far_holder(study_dir) is not None and _is_fresh(study_dir)


def _has_locked(descriptor: int) -> bool:
    deadline = time.monotonic() + PROBE_S
    while True:
        try:
            lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _far_holder(study_dir: Path) -> str | None:
    known = holder(study_dir)
    return None if known is None or known.endswith(f" on {socket.gethostname()}") else known


def _beat(study_dir: Path, is_over: threading.Event) -> None:
    """Counts in a file, for as long as this process drives: while it submits, plans and records, too."""
    count = 0
    while not is_over.wait(BEAT_S if count else 0.0):
        count += 1
        with contextlib.suppress(OSError):  # a full disk ends no sweep
            (study_dir / _BEAT).write_text(f"{os.getpid()} {count}\n")


def _is_fresh(study_dir: Path) -> bool:
    """Returns whether the last beat is young, by the clock of the disk that both hosts share."""
    now = study_dir / f"{_BEAT}.{os.getpid()}"
    try:
        now.touch()
        return now.stat().st_mtime - (study_dir / _BEAT).stat().st_mtime < STALE_S
    except OSError:
        return False
    finally:
        now.unlink(missing_ok=True)


def _beats_on(study_dir: Path, watch_s: float) -> bool:
    first = _read_beat(study_dir)
    deadline = time.monotonic() + watch_s
    while first is not None and time.monotonic() < deadline:
        time.sleep(min(0.5, watch_s))
        if _read_beat(study_dir) != first:
            return True
    return False


def _read_beat(study_dir: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return (study_dir / _BEAT).read_text()
    return None


def _is_run_by(study: str, who: str) -> StudyIsRunError:
    return StudyIsRunError(
        f"study {study} is being run by {who}; look at it with make watch STUDY={study}, end it with make stop "
        f"STUDY={study} or with Ctrl-C in its terminal, then type the same command again"
    )
