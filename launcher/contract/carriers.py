"""The books of a back end that speaks to its jobs through batches: which job carries which trials, what it says."""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from launcher.contract.backend import Ended, Event, Held, Lost, Refused, Task, TrunkGone
from launcher.contract.batch_folder import Batch, Inbox
from launcher.contract.wire import Attached, Ready


@dataclass(kw_only=True, eq=False)
class Carrier:
    """A pack that is queued or runs, and which of its trials have not ended yet."""

    batch: Batch
    place: int
    owed: dict[str, Task]
    has_started: bool = False
    heard_s: float = float("-inf")
    """When its job last said anything, the news of its start included [monotonic s]."""

    @property
    def key(self) -> tuple[str, int]:
        """The batch's name and the pack's place in it."""
        return self.batch.name, self.place


AnyCarrier = TypeVar("AnyCarrier", bound=Carrier)


class Carriers(Generic[AnyCarrier]):
    """All carriers that are queued or run, by their place and by their trials; a batch without any is closed."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], AnyCarrier] = {}
        self._of_trial: dict[str, AnyCarrier] = {}
        self._open_places: defaultdict[str, set[int]] = defaultdict(set)
        self._inboxes: dict[str, Inbox] = {}
        self.heard_s = float("-inf")
        """When any job last said anything [monotonic s]."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[AnyCarrier]:
        return iter(list(self._all.values()))

    def __contains__(self, carrier: AnyCarrier) -> bool:
        return self._all.get(carrier.key) is carrier

    def at(self, batch: str, place: int) -> AnyCarrier | None:
        """Returns what carries the pack at a place of a batch."""
        return self._all.get((batch, place))

    def of_trial(self, trial_id: str) -> AnyCarrier | None:
        """Returns what carries a trial."""
        return self._of_trial.get(trial_id)

    def tasks(self) -> list[Task]:
        """Returns the tasks that have not ended."""
        return [task for carrier in self._all.values() for task in carrier.owed.values()]

    def enter(self, carrier: AnyCarrier) -> AnyCarrier:
        """Returns the carrier of a pack that was handed in, now on the books."""
        self._all[carrier.key] = carrier
        self._open_places[carrier.batch.name].add(carrier.place)
        self._inboxes.setdefault(carrier.batch.name, Inbox(carrier.batch))
        self._of_trial.update(dict.fromkeys(carrier.owed, carrier))
        return carrier

    def drop(self, carrier: AnyCarrier) -> None:
        """Takes a carrier off the books; the last of a batch closes it."""
        batch = carrier.batch
        if self._all.pop(carrier.key, None) is None:
            return
        for trial_id in carrier.owed:
            self._release(carrier, trial_id)
        self._inboxes[batch.name].finish(carrier.place)
        self._open_places[batch.name].discard(carrier.place)
        if not self._open_places[batch.name]:
            del self._open_places[batch.name], self._inboxes[batch.name]
            batch.close()

    def read(self) -> list[Event]:
        """Returns the new events of all carriers.

        What ends a trial that was given to another carrier meanwhile is no loss of it: only a result counts.
        """
        events: list[Event] = []
        for name in list(self._inboxes):
            for carrier, event in self._new_of(name):
                is_loss = isinstance(event, (Lost, TrunkGone, Held))
                is_own = isinstance(event, (Ended, Lost, TrunkGone, Held)) and self._settle(carrier, event.trial_id)
                if isinstance(event, Refused):
                    self.drop(carrier)  # its job has ended with this word
                if is_own or not is_loss:
                    events.append(event)
        return events

    def catch_up(self, batch: Batch) -> None:
        """Takes note of what a batch told an earlier driver: that is in the journals, and no news."""
        for carrier, event in self._new_of(batch.name):
            if isinstance(event, (Ended, Lost, TrunkGone, Held)):
                self._settle(carrier, event.trial_id)

    def _new_of(self, name: str) -> list[tuple[AnyCarrier, Event]]:
        found: list[tuple[AnyCarrier, Event]] = []
        for place, event in self._inboxes[name].read() if name in self._inboxes else ():
            carrier = self._all.get((name, place))
            if carrier is None or isinstance(event, Ready):
                continue
            carrier.has_started, carrier.heard_s = True, time.monotonic()
            self.heard_s = carrier.heard_s
            if not isinstance(event, Attached):
                found.append((carrier, event))
        return found

    def _settle(self, carrier: AnyCarrier, trial_id: str) -> bool:
        """Returns whether the trial was the carrier's to run."""
        if carrier.owed.pop(trial_id, None) is None:
            return False
        self._release(carrier, trial_id)
        if not carrier.owed:
            self.drop(carrier)
        return True

    def _release(self, carrier: AnyCarrier, trial_id: str) -> None:
        if self._of_trial.get(trial_id) is carrier:
            del self._of_trial[trial_id]
