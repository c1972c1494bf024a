"""One driver at a time for a study: it alone writes the database and decides what runs."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Generator
from pathlib import Path

from launcher.drive.driver_note import beat_of
from sweeps.errors import StudyError
from tracking.attempt_file import lock

WATCH_S = 10.0
"""A driver on another host, whose lock does not reach here, shows itself within this: it writes its note more often."""


@contextlib.contextmanager
def driver_lock(study_dir: Path, study: str, *, watch_s: float = WATCH_S) -> Generator[None]:
    """Holds the study's lock; it goes with the process, however that ends.

    Some shared disks keep locks on each host to themselves. So the lock also says on which host it is held, and where
    that is another one, its driver's note is watched: a beat that goes on belongs to a living driver.

    Raises:
        StudyError: another process holds it, or the disk has no locks.
    """
    study_dir.mkdir(parents=True, exist_ok=True)
    with (study_dir / "driver.lock").open("a+") as file:
        try:
            lock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _is_run_by(study, holder(study_dir) or "another process") from error
        known = holder(study_dir)
        if known is not None and not known.endswith(f" on {socket.gethostname()}") and _beats(study_dir, watch_s):
            raise _is_run_by(study, known)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # left in order: nobody need wait for a sign of life


def holder(study_dir: Path) -> str | None:
    """Returns who holds the lock, or held it when it died; None where it was given back."""
    with contextlib.suppress(FileNotFoundError):
        return (study_dir / "driver.lock").read_text().strip() or None
    return None


def is_driven(study_dir: Path) -> bool:
    """Returns whether a driver of the study lives on this host, or on another as far as locks reach."""
    try:
        with (study_dir / "driver.lock").open() as file:
            lock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _beats(study_dir: Path, watch_s: float) -> bool:
    first = beat_of(study_dir)
    deadline = time.monotonic() + watch_s
    while first is not None and time.monotonic() < deadline:
        time.sleep(min(0.5, watch_s))
        if beat_of(study_dir) != first:
            return True
    return False


def _is_run_by(study: str, who: str) -> StudyError:
    return StudyError(
        f"study {study} is being run by {who}; look at it with make watch STUDY={study}, end it with make stop "
        f"STUDY={study} or with Ctrl-C in its terminal, then type the same command again"
    )
