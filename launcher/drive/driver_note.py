"""What a driver writes down about itself every few seconds, for make status and make watch in other terminals."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.canonical import from_jsonable, to_jsonable

NOTE = "driver.json"
INTERVAL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class DriverNote:
    """Where a sweep stands, in its driver's words."""

    pid: int
    host: str
    cluster: str
    budget_core_hours: float
    spend_cap_core_hours: float | None
    runs: int
    """All runs of its plan."""
    done: int
    total_core_hours: float
    """The price of all of them."""
    reserved_core_hours: float
    """Promised to trials that are queued or run."""
    spent_core_hours: float
    """Used so far, by all runs of the study."""
    eta_s: float | None
    """Seconds left; missing before anything is known."""
    silence: str | None = None
    """What the cluster's scheduler answers instead of an answer, while it does not answer."""


def write_note(study_dir: Path, note: DriverNote) -> None:
    """Puts the note where readers find it, whole; a full disk is no reason to end a sweep."""
    unfinished = study_dir / f"{NOTE}.{os.getpid()}"
    with contextlib.suppress(OSError):
        unfinished.write_text(json.dumps(to_jsonable(note)))
        unfinished.replace(study_dir / NOTE)


def read_note(study_dir: Path) -> DriverNote | None:
    """Returns the last note of the study's driver, dead or alive; None where there is none that can be read."""
    try:
        fields: dict[str, Any] = json.loads((study_dir / NOTE).read_text())
        return from_jsonable(DriverNote, fields)
    except (FileNotFoundError, ValueError):
        return None


class NoteKeeper:
    """Writes a driver's note every INTERVAL_S."""

    def __init__(self, study_dir: Path, make_note: Callable[[], DriverNote]) -> None:
        """Takes what makes a note of this moment, which sums over all trials and is asked only when one is due."""
        self._study_dir, self._make_note, self._written_s = study_dir, make_note, float("-inf")

    def turn(self) -> None:
        """Writes a note, if it is time to."""
        now = time.monotonic()
        if now - self._written_s >= INTERVAL_S:
            self._written_s = now
            write_note(self._study_dir, self._make_note())
