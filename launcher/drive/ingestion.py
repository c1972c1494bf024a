"""Records into MLflow while a sweep runs: in a thread of the driver and in batches, so that no worker waits.

While runs are trained, a store that is locked or away is left for later in silence: the journals hold everything. When
they have ended it is waited for, for PATIENCE_S and aloud.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from sweeps.errors import StudyError
from sweeps.record import Status
from tracking.paths import ProjectPaths

INTERVAL_S = 20.0
"""A batch costs little more than a single record, so records wait for company this long."""
SHARE_OF_TIME = 0.2
"""At most: what the thread spends on ingestion, for a slow store or very many records."""
PATIENCE_S = 180.0
"""How long the last ingestion tries: a locked database and the restart of a server take a minute."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 20.0
"""Between its tries; each pause is twice the one before."""
JOIN_S = 20.0
"""After an interruption, the batch that is being written gets this long."""

_log = logging.getLogger(__name__)


def ingest_ended(
    paths: ProjectPaths,
    study: str,
    *,
    tracking_uri: str | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Returns how many runs were new to MLflow, of all that no living process trains; killed ones are among them.

    Where the store cannot be written it is tried again for PATIENCE_S. MLflow is loaded only for new runs.

    Args:
        paths: where the project lies.
        study: its name.
        tracking_uri: of a server or a PostgreSQL database; None or '' for runs.sqlite.
        say: takes a line on what is waited for; by default it goes to stderr.

    Raises:
        StudyError: the store cannot be used, or not within PATIENCE_S.
    """
    from tracking.run_store import StoreUnavailableError
    from tracking.store import store_name

    name, pause_s, told = store_name(paths, tracking_uri), FIRST_PAUSE_S, ""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _ingest(paths, study, tracking_uri, has_finished=True)
        except StudyError:
            raise
        except Exception as error:
            reason, left_s = str(error), deadline - time.monotonic()
            may_pass = isinstance(error, (StoreUnavailableError, OSError))
            if not may_pass or left_s <= 0:
                raise StudyError(
                    f"{name} could not be written{f' for {PATIENCE_S:.0f} s' if may_pass else ''} ({reason}); every "
                    "run is in its journal, and the same command brings it in (type the same command again)"
                ) from (None if may_pass else error)
        if reason != told:
            (say or _say)(
                f"waiting for {name}, at most {left_s:.0f} s ({reason}); every run is in its journal, Ctrl-C loses none"
            )
            told = reason
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _ingest(paths: ProjectPaths, study: str, tracking_uri: str | None, *, has_finished: bool) -> int:
    """Tries once. While trials are still tried again, killed ones wait for their next attempt."""
    from tracking.journal import read_journals
    from tracking.store import ingest

    left_out = (Status.RUNNING,) if has_finished else (Status.RUNNING, Status.KILLED)
    records = [record for record in read_journals(paths, study) if record.status not in left_out]
    return ingest(paths, study, records, tracking_uri=tracking_uri)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Ingestion:
    """Brings settled runs into MLflow every INTERVAL_S, and all the rest when its with statement ends."""

    def __init__(
        self,
        paths: ProjectPaths,
        study: str,
        *,
        tracking_uri: str | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._paths, self._study, self._tracking_uri, self._say = paths, study, tracking_uri, say
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
        # A thread that hangs at a dead store holds the lock of ingestion; the last one waits for that as well.
        self._thread.join(JOIN_S if is_interrupted else PATIENCE_S)
        if is_interrupted:
            return
        try:
            ingest_ended(self._paths, self._study, tracking_uri=self._tracking_uri, say=self._say)
        except StudyError as failure:
            if error is None:
                raise
            (self._say or _say)(str(failure))  # what stopped the sweep matters more

    def _work(self) -> None:
        pause_s = INTERVAL_S
        while not self._stop.wait(pause_s):
            if not self._news.is_set():
                continue
            self._news.clear()
            began_s = time.monotonic()
            try:
                _ingest(self._paths, self._study, self._tracking_uri, has_finished=False)
            except Exception as error:  # the journals hold everything, and the next ingestion tries once more
                self._news.set()
                _log.info("ingestion put off: %s", error)
            pause_s = max(INTERVAL_S, (time.monotonic() - began_s) * (1 / SHARE_OF_TIME - 1))
