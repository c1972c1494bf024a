"""One driver at a time for a study: it alone writes the database and decides what runs."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Generator
from pathlib import Path

from sweeps.errors import StudyError


@contextlib.contextmanager
def driver_lock(study_dir: Path, study: str) -> Generator[None]:
    """Holds the study's lock; it goes with the process, however that ends.

    Raises:
        StudyError: another process holds it.
    """
    study_dir.mkdir(parents=True, exist_ok=True)
    with (study_dir / "driver.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise StudyError(
                f"study {study} is being run by {holder}; wait until it is done, or stop it there with Ctrl-C, "
                "then type the same command again"
            ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield
