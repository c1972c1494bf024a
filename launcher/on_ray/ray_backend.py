"""The Ray back end: packs are trials of Ray Tune, run by warm actors; their events come back through batches.

The driver's files and the actors' have to lie in one file system. Nothing is kept that is not on disk: actors end with
their driver, and the next one plans anew from the journals.
"""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Sequence

from launcher.contract.backend import Broken, Event, Lost, Order, Task
from launcher.contract.batch_folder import Batch, open_batches, write_batch
from launcher.contract.carriers import Carrier, Carriers
from launcher.on_ray.ray_connection import RayConnection, needs_of
from launcher.on_ray.ray_loop import TuneLoop
from launcher.on_ray.ray_tape import CANCELLED, News, Slip, mark
from launcher.settings.request import AshaSpec, RayCluster
from sweeps.canonical import short_hash
from sweeps.trial import Trial

READ_S = (0.02, 0.25)
"""Between two looks at the events: the longer nothing comes, the longer."""
PULSE_S = 1.0
"""Between two looks whether the Tune loop lives."""
MAX_FALSE_STARTS = 3
"""Loops that died before any pack was started, one after the other, until the back end gives up."""
NO_ROOM_S = 30.0
"""Packs that wait so long, with none running, wait for a cluster that has no room."""


class RayBackend:
    """Queues packs for a Tune loop on Ray and follows their events."""

    def __init__(self, order: Order, spec: RayCluster, *, asha: AshaSpec | None = None) -> None:
        """Connects to Ray, or starts one.

        Raises:
            StudyError: the settings make no sense, or the cluster cannot be reached.
        """
        self._order, self._asha = order, asha
        self._batches_dir = order.paths.study_dir(order.study) / "batches"
        needs = needs_of(spec)
        self._connection = RayConnection(spec, needs)
        self._loop = TuneLoop(self._connection.ray, order, needs, max_running=self._connection.max_running, asha=asha)
        self._loop.clear()
        for batch in open_batches(self._batches_dir, cluster="ray"):
            batch.close()  # its actors have died with the driver that wrote it
        self._waiting: list[tuple[str, tuple[Task, ...]]] = []
        self._carriers = Carriers[Carrier]()
        self._of_job: defaultdict[str, list[Carrier]] = defaultdict(list)
        self._jobs = self._false_starts = 0
        self._next_pulse_s = 0.0
        self._pause_s = READ_S[0]
        self._opened_s = time.monotonic()

    # ---- what a driver asks for ------------------------------------------------------------------------------------

    def submit(self, tasks: Sequence[Task]) -> str:
        """Returns the job's name. Its tasks are queued with the next poll; trials that compete become packs each."""
        self._jobs += 1
        job = f"job-{self._jobs}"
        packs = [tuple(tasks)] if self._asha is None else [(task,) for task in tasks]
        self._waiting += [(job, pack) for pack in packs if pack]
        return job

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns what happened; queues waiting packs."""
        deadline = time.monotonic() + timeout_s
        while True:
            events = self._hand_in() or self._read()
            left = deadline - time.monotonic()
            if events or left <= 0 or not self._carriers:
                return events
            time.sleep(min(left, self._pause_s))

    def cancel(self, job: str) -> None:
        """Drops the job's packs; one that runs ends at its next step, or is killed seconds later."""
        self._waiting = [item for item in self._waiting if item[0] != job]
        for carrier in self._of_job[job]:
            if carrier in self._carriers:
                mark(carrier.batch.folder, carrier.place, CANCELLED)
                self._carriers.drop(carrier)

    def logs(self, job: str) -> str:
        """Returns what the job's tasks have printed so far; of several hosts, one after the other."""
        paths = [
            path
            for carrier in self._of_job[job]
            for path in sorted(carrier.batch.logs_dir.glob(f"{carrier.place}.*log"))
        ]
        return "".join(path.read_text(errors="replace") for path in paths)

    def underway(self) -> Sequence[Task]:
        """Returns nothing: actors end with their driver."""
        return ()

    def stop(self) -> None:
        """Drops everything and ends the actors: what they were at is in journals and checkpoints."""
        self._waiting.clear()
        for carrier in self._carriers:
            mark(carrier.batch.folder, carrier.place, CANCELLED)
            self._carriers.drop(carrier)
        self._loop.end()

    def close(self) -> None:
        """Ends the actors and lets go of Ray. Harmless when repeated."""
        self.stop()
        self._connection.close()

    @property
    def silence(self) -> str | None:
        """What keeps queued packs from starting, if something seems to."""
        is_running = any(carrier.has_started for carrier in self._carriers)
        if (
            not self._carriers
            or is_running
            or time.monotonic() - max(self._opened_s, self._carriers.heard_s) < NO_ROOM_S
        ):
            return None
        return "Ray has no room for an actor at present (ray status says what is asked for and what there is)"

    # ---- to Ray ----------------------------------------------------------------------------------------------------

    def _hand_in(self) -> list[Event]:
        """Queues what waits, as one batch; returns what is to be said where Ray does not take it."""
        if not self._waiting:
            return []
        packs = [tasks for _, tasks in self._waiting]
        try:
            batch = write_batch(self._batches_dir, self._order, packs, cluster="ray")
        except OSError:  # the disk is full: the packs wait for the next poll
            return []
        for place, (job, tasks) in enumerate(self._waiting):
            carrier = Carrier(batch=batch, place=place, owed={task.trial.id: task for task in tasks})
            self._of_job[job].append(self._carriers.enter(carrier))
        self._waiting = []
        try:
            self._loop.put([self._slip(batch, place, tasks) for place, tasks in enumerate(packs)])
        except Exception as error:  # of many kinds: the connection is lost, the cluster is gone
            self.stop()
            return [Broken(reason=f"Ray does not take the packs: {type(error).__name__}: {error}")]
        return []

    def _slip(self, batch: Batch, place: int, tasks: tuple[Task, ...]) -> Slip:
        if self._asha is None:
            return Slip(batch=batch.name, place=place)
        trial = tasks[0].trial
        return Slip(batch=batch.name, place=place, cell=cell_of(trial), trial=trial.id, steps=trial.steps)

    # ---- from Ray --------------------------------------------------------------------------------------------------

    def _read(self) -> list[Event]:
        """Returns the new events of all packs, and the losses."""
        if not self._carriers:
            return []
        # What Tune is done with has said all it had to say: so the news are read before the events.
        news = self._loop.news()
        death = self._death()
        events = self._read_events()
        for item in news:
            events += self._bury(item)
        if death is not None:
            events += self._bury_all(death)
        self._pause_s = READ_S[0] if events else min(READ_S[1], 1.3 * self._pause_s)
        return events

    def _read_events(self) -> list[Event]:
        heard_s = self._carriers.heard_s
        events = self._carriers.read()
        if self._carriers.heard_s > heard_s:
            self._false_starts = 0
        return events

    def _bury(self, news: News) -> list[Event]:
        """Returns the losses of a pack that Tune is done with: what it still owes."""
        carrier = self._carriers.at(news.batch, news.place)
        if carrier is None:
            return []
        self._carriers.drop(carrier)
        reason = f"Ray gave up on it: {news.reason}" if news.reason else "its pack ended without it"
        return [Lost(trial_id=trial_id, reason=reason) for trial_id in carrier.owed]

    def _death(self) -> str | None:
        """Returns why the Tune loop has ended, when it is time to look."""
        now = time.monotonic()
        if now < self._next_pulse_s:
            return None
        self._next_pulse_s = now + PULSE_S
        return self._loop.death()

    def _bury_all(self, death: str) -> list[Event]:
        """Returns the losses of a Tune loop that died; the next packs get another loop."""
        reason = f"Ray Tune's loop ended: {death}"
        if not any(carrier.has_started for carrier in self._carriers):
            self._false_starts += 1
        carriers = list(self._carriers)
        self.stop()
        if self._false_starts >= MAX_FALSE_STARTS:
            return [Broken(reason=f"{reason}; see {self._order.log_dir / 'ray.log'}")]
        return [Lost(trial_id=trial_id, reason=reason) for carrier in carriers for trial_id in carrier.owed]


def cell_of(trial: Trial) -> str:
    """Returns what a trial has in common with those it competes with: all but the learning rate."""
    return short_hash(dataclasses.replace(trial, peak_lr=1.0))
