"""What surrounds the reconcile loop: what it is told about and tells, and what it comes to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.contract.backend import Task
from launcher.drive.requests_file import Ask
from launcher.drive.spending import SpendLedger
from launcher.show.progress import View
from launcher.show.tally import Tally
from sweeps.record import RunRecord


class SweepStopped(Exception):
    """The sweep cannot go on; its text is for the person at the keyboard."""


class SweepCancelled(SweepStopped):
    """Somebody has typed make stop."""


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What became of the pending trials of a plan."""

    finished: int
    diverged: int
    stopped: int = 0
    """Ended early, since other learning rates of their cell were ahead."""
    out_of_memory: tuple[str, ...] = ()
    """Names of the trials that do not fit where they ran."""
    failed: tuple[str, ...]
    """Names of the trials that raised an exception at every attempt."""
    left: tuple[str, ...]
    """A line for each trial left to the next command, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the loop is told about and tells, besides the back end."""

    tally: Tally
    view: View
    ledger: SpendLedger
    on_settled: Callable[[str], None]
    """Called with the id of each trial that needs no further attempt; must not wait."""
    known: Callable[[str], RunRecord | None]
    """What the journals say now of a trial, by its id."""
    saved_mark: Callable[[str], float] = lambda trial_id: 0.0
    """What grows when the checkpoint of a trial does, by its id."""
    asked: Callable[[], set[Ask]] = set[Ask]
    """What other terminals ask."""
    on_turn: Callable[[], None] = lambda: None
    """Called at every turn of the loop."""
    more: Callable[[frozenset[str]], Sequence[Sequence[Task]]] = lambda given_up: ()
    """What is to be run besides once nothing is owed, given the ids of trials that were given up; empty: nothing."""
    clock: Callable[[], float] = time.monotonic
    """[s]"""
    sleep: Callable[[float], None] = time.sleep
    """Rehearsals have a time of their own."""
