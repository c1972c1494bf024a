"""Records into MLflow while a sweep runs: in a thread of the driver and in batches, so that no worker waits."""

import logging
import threading
from types import TracebackType

from sweeps.errors import StudyError
from sweeps.record import Status
from tracking.paths import ProjectPaths

INTERVAL_S = 20.0
"""A batch costs little more than a single record, so records wait for company this long."""
JOIN_S = 20.0
"""After an interruption, the batch that is being written gets this long."""


_ENDED = (Status.FINISHED, Status.DIVERGED, Status.FAILED)


def ingest_ended(paths: ProjectPaths, study: str) -> int:
    """Returns how many runs were new to the database, of those whose last attempt ended; loads MLflow only for them."""
    from tracking.journal import read_journals
    from tracking.store import ingest

    return ingest(paths, study, [record for record in read_journals(paths, study) if record.status in _ENDED])


class Ingestion:
    """Brings settled runs into the database every INTERVAL_S, and all the rest when its with statement ends."""

    def __init__(self, paths: ProjectPaths, study: str) -> None:
        self._paths, self._study = paths, study
        self._news, self._stop = threading.Event(), threading.Event()
        # A daemon: a second Ctrl-C must be able to end the driver at once. Ingestion is idempotent.
        self._thread = threading.Thread(target=self._work, name="ingestion", daemon=True)

    def settle(self, trial_id: str) -> None:
        """Notes that a trial is settled; never waits."""
        self._news.set()

    def __enter__(self) -> "Ingestion":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        is_interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
        self._thread.join(JOIN_S if is_interrupted else None)
        if not is_interrupted:
            try:
                ingest_ended(self._paths, self._study)
            except StudyError:
                raise
            except Exception as failure:
                raise StudyError(
                    f"MLflow's database {self._paths.runs_sqlite} could not be written ({failure}); every run is in "
                    "its journal, and the same command brings it in (type the same command again)"
                ) from failure

    def _work(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            if not self._news.is_set():
                continue
            self._news.clear()
            try:
                ingest_ended(self._paths, self._study)
            except Exception as error:  # the journals hold everything, and the last ingestion tries once more
                logging.getLogger(__name__).info("ingestion put off: %s", error)
