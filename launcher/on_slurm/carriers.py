"""The books of the Slurm back end: which array task carries which trials, and what their jobs have written."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.contract.backend import Ended, Event, Held, Lost, Task
from launcher.contract.batch_folder import Batch, Inbox
from launcher.contract.wire import Attached, Ready


@dataclass(kw_only=True, eq=False)
class Carrier:
    """An array task, and which of its pack's trials have not ended yet."""

    batch: Batch
    place: int
    owed: dict[str, Task]
    job: str | None = None
    """Slurm's number of the array; None until it is known."""
    is_array: bool = True
    has_started: bool = False
    missing_since_s: float | None = None
    """Since when squeue does not list it."""

    @property
    def full_job(self) -> str | None:
        """Slurm's name of the array task."""
        return f"{self.job}_{self.place}" if self.is_array and self.job else self.job


class Carriers:
    """All carriers that are queued or run, by their place and by their trials; a batch without any is closed."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], Carrier] = {}
        self._of_trial: dict[str, Carrier] = {}
        self._open_places: defaultdict[str, set[int]] = defaultdict(set)
        self._inboxes: dict[str, Inbox] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Carrier]:
        return iter(list(self._all.values()))

    def __contains__(self, carrier: Carrier) -> bool:
        return self._all.get((carrier.batch.name, carrier.place)) is carrier

    def of_trial(self, trial_id: str) -> Carrier | None:
        """Returns what carries a trial."""
        return self._of_trial.get(trial_id)

    def tasks(self) -> list[Task]:
        """Returns the tasks that have not ended."""
        return [task for carrier in self._all.values() for task in carrier.owed.values()]

    def enter(
        self,
        batch: Batch,
        place: int,
        tasks: Sequence[Task],
        *,
        job: str | None,
        is_array: bool,
        has_started: bool = False,
    ) -> Carrier:
        """Returns the carrier of a pack that was handed in, now on the books."""
        carrier = Carrier(
            batch=batch,
            place=place,
            owed={task.trial.id: task for task in tasks},
            job=job,
            is_array=is_array,
            has_started=has_started,
        )
        self._all[batch.name, place] = carrier
        self._open_places[batch.name].add(place)
        self._inboxes.setdefault(batch.name, Inbox(batch))
        self._of_trial.update(dict.fromkeys(carrier.owed, carrier))
        return carrier

    def drop(self, carrier: Carrier) -> None:
        """Takes a carrier off the books; the last of a batch closes it."""
        batch = carrier.batch
        if self._all.pop((batch.name, carrier.place), None) is None:
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
        return [
            event
            for name in list(self._inboxes)
            for carrier, event in self._new_of(name)
            if not isinstance(event, (Ended, Lost, Held))
            or self._settle(carrier, event.trial_id)
            or isinstance(event, Ended)
        ]

    def catch_up(self, batch: Batch) -> None:
        """Takes note of what a batch told an earlier driver: that is in the journals, and no news."""
        for carrier, event in self._new_of(batch.name):
            if isinstance(event, (Ended, Lost, Held)):
                self._settle(carrier, event.trial_id)

    def _new_of(self, name: str) -> list[tuple[Carrier, Event]]:
        found: list[tuple[Carrier, Event]] = []
        for place, event in self._inboxes[name].read() if name in self._inboxes else ():
            carrier = self._all.get((name, place))
            if carrier is None or isinstance(event, Ready):
                continue
            carrier.has_started, carrier.missing_since_s = True, None
            if not isinstance(event, Attached):
                found.append((carrier, event))
        return found

    def _settle(self, carrier: Carrier, trial_id: str) -> bool:
        """Returns whether the trial was the carrier's to run."""
        if carrier.owed.pop(trial_id, None) is None:
            return False
        self._release(carrier, trial_id)
        if not carrier.owed:
            self.drop(carrier)
        return True

    def _release(self, carrier: Carrier, trial_id: str) -> None:
        if self._of_trial.get(trial_id) is carrier:
            del self._of_trial[trial_id]
