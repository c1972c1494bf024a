"""When a trial whose worker died is tried again: with a growing pause, and not for ever where nothing is gained."""

import time
from collections.abc import Callable

GIVE_UP_AFTER = 4
"""A trial under which so many workers died, one after the other and without getting further, is left."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After the second death in a row, and at most; the first is repeated at once."""


class Retries:
    """Counts deaths since the last progress; being put off often is no reason to give up, getting nowhere is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._losses: dict[str, int] = {}
        self._furthest: dict[str, int] = {}
        self._due_s: dict[str, float] = {}
        self._saved: dict[str, float] = {}
        self.given_up = 0
        """Trials that were given up."""

    def __bool__(self) -> bool:
        return bool(self._due_s)

    def progress(self, trial_id: str, step: int) -> None:
        """Notes how far a trial has come; further than ever before clears its deaths."""
        if step > self._furthest.get(trial_id, 0):
            self._furthest[trial_id] = step
            self._losses.pop(trial_id, None)

    def save(self, trial_id: str, mark: float) -> None:
        """Notes a mark that grows when the trial's checkpoint does; further than ever before clears its deaths too."""
        if mark > self._saved.get(trial_id, 0.0):
            self._saved[trial_id] = mark
            self._losses.pop(trial_id, None)

    def lose(self, trial_id: str) -> bool:
        """Returns whether the trial is tried again; when, `due` says."""
        losses = self._losses[trial_id] = self._losses.get(trial_id, 0) + 1
        if losses >= GIVE_UP_AFTER:
            self.given_up += 1
            return False
        pause_s = 0.0 if losses == 1 else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (losses - 2))
        self._due_s[trial_id] = self._clock() + pause_s
        return True

    def due(self) -> list[str]:
        """Returns the trials whose pause is over, each once."""
        now = self._clock()
        due = [trial_id for trial_id, due_s in self._due_s.items() if due_s <= now]
        for trial_id in due:
            del self._due_s[trial_id]
        return due

    def forget(self, trial_id: str) -> None:
        """Clears what is known of a trial, for somebody wants it tried again."""
        self._losses.pop(trial_id, None)
        self._due_s.pop(trial_id, None)
