"""The Slurm back end: packs become array tasks; what becomes of them is read from their events and from squeue.

Nothing is kept that is not on disk: a driver that finds batches of an earlier one goes on with them.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.contract.backend import Event, Lost, Order, Refused, Task
from launcher.contract.batch_folder import Batch, open_batches, write_batch
from launcher.contract.carriers import Carrier, Carriers
from launcher.on_slurm import slurm_commands
from launcher.on_slurm.slurm_commands import ListedJob, SlurmSilentError
from launcher.on_slurm.slurm_submission import (
    QueueFullError,
    job_name,
    log_path,
    split_pack,
    submit_array,
    time_limit_min,
)
from launcher.settings.request import SlurmCluster
from sweeps.errors import StudyError

LOOK_S = (2.0, 30.0)
"""Shortest and longest time between two looks at squeue, which is asked one part in fifty of the time."""
READ_S = (0.1, 1.0)
"""Between two looks at the events: the longer nothing comes, the longer."""
GRACE_S = 6.0
"""A job that squeue no longer lists may still have events under way on a shared disk."""
RETRY_SUBMISSION_S = 20.0
LAUNCHES_REPEATED = 2
"""A job that Slurm could not launch so often, and once more, is given up."""
ARRAY_SIZE_LEFT = 1
"""Arrays stay below MaxArraySize by this much."""


@dataclass(kw_only=True, eq=False)
class _ArrayTask(Carrier):
    """A pack as Slurm has it."""

    job: str | None
    """Slurm's number of the array; None until it is known."""
    is_array: bool
    missing_since_s: float | None = None
    """Since when squeue does not list it."""
    releases: int = 0
    """How often it was let go again after a launch that failed."""

    @property
    def full_job(self) -> str | None:
        """Slurm's name of the array task."""
        return f"{self.job}_{self.place}" if self.is_array and self.job else self.job


class SlurmBackend:
    """Queues packs in Slurm, follows them, and takes over what an earlier driver of the study has queued."""

    def __init__(self, order: Order, spec: SlurmCluster) -> None:
        self._order, self._spec = order, spec
        self._batches_dir = order.paths.study_dir(order.study) / "batches"
        self._waiting: list[tuple[str, tuple[Task, ...]]] = []
        self._carriers = Carriers[_ArrayTask]()
        self._of_job: defaultdict[str, list[_ArrayTask]] = defaultdict(list)
        self._jobs = 0
        self._pending_events: list[Event] = []
        self._next_look_s = self._next_submission_s = 0.0
        self._pause_s = READ_S[0]
        self._max_array_size: int | None = None
        self._doubtful: list[Batch] = []
        self.silence: str | None = None
        """What Slurm answers in place of an answer, while it does not answer."""
        self._adopt()

    # ---- what a driver asks for ------------------------------------------------------------------------------------

    def submit(self, tasks: Sequence[Task]) -> str:
        """Returns the job's name. Its tasks go to Slurm with the next poll, those excepted that are there already."""
        self._jobs += 1
        job = f"job-{self._jobs}"
        for carrier in (self._carriers.of_trial(task.trial.id) for task in tasks):
            if carrier is not None and carrier not in self._of_job[job]:
                self._of_job[job].append(carrier)
        rest = tuple(task for task in tasks if self._carriers.of_trial(task.trial.id) is None)
        if rest:
            self._waiting += [(job, part) for part in split_pack(rest, self._spec)]
        return job

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns what happened; hands waiting packs to Slurm."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._hand_in()
            events = self._read() + self._look()
            left = deadline - time.monotonic()
            if events or left <= 0:
                return events
            time.sleep(min(left, self._pause_s))

    def cancel(self, job: str) -> None:
        """Drops the job's packs, at Slurm too: no event of them comes any more."""
        self._waiting = [item for item in self._waiting if item[0] != job]
        self._cancel(self._of_job.pop(job, []))

    def underway(self) -> Sequence[Task]:
        """Returns the tasks of all packs that are queued or run at Slurm."""
        return self._carriers.tasks()

    def stop(self) -> None:
        """Cancels every pack of the study that is queued or runs."""
        self._waiting.clear()
        self._cancel(list(self._carriers))

    def logs(self, job: str) -> str:
        """Returns what the job's tasks have printed so far."""
        paths = [log_path(c.batch, c.job, c.place if c.is_array else None) for c in self._of_job[job] if c.job]
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def close(self) -> None:
        """Lets go: what Slurm has queued goes on without this driver."""
        self._waiting.clear()

    # ---- to Slurm ----------------------------------------------------------------------------------------------------

    def _hand_in(self) -> None:
        now = time.monotonic()
        if not self._waiting or now < self._next_submission_s:
            return
        try:
            self._forget_doubtful()
            self._max_array_size = self._max_array_size or slurm_commands.max_array_size()
            while self._waiting and len(self._carriers) < self._spec.max_queued:
                self._submit_some(self._max_array_size - ARRAY_SIZE_LEFT)
        except (QueueFullError, SlurmSilentError, OSError) as error:  # or the disk is full: jobs wait for better times
            self.silence = str(error)
            self._next_submission_s = now + RETRY_SUBMISSION_S
        except StudyError as error:
            self._pending_events.append(Refused(message=str(error)))
            self._waiting.clear()

    def _submit_some(self, most: int) -> None:
        """Hands in the waiting packs that have the time limit of the first, as one array."""
        minutes = time_limit_min(self._waiting[0][1], self._spec)
        room = min(max(1, most), self._spec.max_queued - len(self._carriers))
        chosen = [item for item in self._waiting if time_limit_min(item[1], self._spec) == minutes][:room]
        batch = write_batch(self._batches_dir, self._order, [tasks for _, tasks in chosen], cluster="slurm")
        try:
            number = submit_array(batch, len(chosen), minutes, self._spec)
        except (QueueFullError, OSError):
            self._doubtful.append(batch)  # Slurm may have taken it and not come to say so
            raise
        except StudyError:
            batch.close()
            raise
        taken = {id(item) for item in chosen}
        self._waiting = [item for item in self._waiting if id(item) not in taken]
        for place, (job, tasks) in enumerate(chosen):
            owed = {task.trial.id: task for task in tasks}
            carrier = _ArrayTask(batch=batch, place=place, owed=owed, job=number, is_array=len(chosen) > 1)
            self._of_job[job].append(self._carriers.enter(carrier))

    def _forget_doubtful(self) -> None:
        """Takes batches that may or may not have reached Slurm out of its queue before their packs go in again."""
        if self._doubtful:
            slurm_commands.cancel_named([job_name(batch) for batch in self._doubtful])
            for batch in self._doubtful:
                batch.close()
            self._doubtful.clear()

    def _cancel(self, carriers: Sequence[_ArrayTask]) -> None:
        slurm_commands.cancel([carrier.full_job for carrier in carriers if carrier.full_job])
        for carrier in carriers:
            self._carriers.drop(carrier)

    # ---- from Slurm ------------------------------------------------------------------------------------------------

    def _read(self) -> list[Event]:
        """Returns the new events of all batches."""
        events, self._pending_events = self._pending_events, []
        events += self._carriers.read()
        self._pause_s = READ_S[0] if events else min(READ_S[1], 1.3 * self._pause_s)
        return events

    def _look(self) -> list[Event]:
        """Returns the losses that squeue tells of, when it is time to ask it."""
        now = time.monotonic()
        if now < self._next_look_s or not self._carriers:
            return []
        names = {job_name(carrier.batch) for carrier in self._carriers}
        try:
            listed = slurm_commands.listed_jobs(names)
            self.silence = None
        except SlurmSilentError as error:
            # A controller that restarts: no news of any job is no bad news.
            self.silence = str(error)
            self._next_look_s = time.monotonic() + LOOK_S[0]
            return []
        took_s = time.monotonic() - now
        self._next_look_s = time.monotonic() + min(LOOK_S[1], max(LOOK_S[0], 50.0 * took_s))
        seen = {(job.name, job.place): job for job in listed}
        gone = [c for c in self._carriers if self._is_gone(c, seen.get((job_name(c.batch), c.place)), now)]
        events = self._read() if gone else []  # their last words come before the news of their death
        for carrier in gone:
            if carrier in self._carriers:
                events += self._bury(carrier)
        return events

    def _is_gone(self, carrier: _ArrayTask, listed: ListedJob | None, now: float) -> bool:
        if listed is not None:
            carrier.job, carrier.missing_since_s = listed.job, None
            return listed.state == "PD" and self._is_held(carrier, listed.reason)
        carrier.missing_since_s = carrier.missing_since_s or now
        return now - max(carrier.missing_since_s, carrier.heard_s) >= GRACE_S

    def _is_held(self, carrier: _ArrayTask, reason: str) -> bool:
        """Returns whether a waiting job will never start by itself; lifts or tells what keeps it otherwise."""
        if "BeginTime" in reason and carrier.has_started and carrier.full_job:
            slurm_commands.start_now(carrier.full_job)
        if "requeued held" in reason.replace("_", " ").lower():  # Slurm could not launch it, and gives up
            if carrier.releases < LAUNCHES_REPEATED and carrier.full_job:
                carrier.releases += 1  # most often a node was too busy to answer in time
                slurm_commands.release(carrier.full_job)
                return False
            slurm_commands.cancel([carrier.full_job or ""])
            return True
        if "held" in reason.lower() or "NeverSatisfied" in reason:
            self.silence = f"job {carrier.full_job} is held: {reason} (scontrol release {carrier.full_job} lets it go)"
        return False

    def _bury(self, carrier: _ArrayTask) -> list[Event]:
        place = carrier.place if carrier.is_array else None
        reason = slurm_commands.last_words(carrier.job, place) if carrier.job else "Slurm never got its job"
        tasks = list(carrier.owed.values())
        self._carriers.drop(carrier)
        return [Lost(trial_id=task.trial.id, reason=reason) for task in tasks]

    # ---- from an earlier driver --------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Takes over the packs that an earlier driver has handed in, as far as they have not all ended."""
        batches = open_batches(self._batches_dir, cluster="slurm")
        if not batches:
            return
        listed: dict[str, list[ListedJob]] | None = defaultdict(list)
        try:
            for job in slurm_commands.listed_jobs([job_name(batch) for batch in batches]):
                listed[job.name].append(job)
        except (SlurmSilentError, FileNotFoundError):
            listed = None  # it will tell when it answers again
        for batch in batches:
            known = None if listed is None else listed.get(job_name(batch), [])
            if known == [] and batch.job() is None:
                batch.close()  # its driver died before Slurm heard of it
                continue
            self._adopt_batch(batch, known or [])

    def _adopt_batch(self, batch: Batch, listed: Sequence[ListedJob]) -> None:
        packs = batch.packs()
        by_place = {job.place: job for job in listed}
        is_stale = batch.order().code_version != self._order.code_version and self._order.is_code_pinned
        unwanted: list[_ArrayTask] = []
        for place, tasks in enumerate(packs):
            job = by_place.get(place)
            carrier = _ArrayTask(
                batch=batch,
                place=place,
                owed={task.trial.id: task for task in tasks},
                has_started=(batch.events_dir / f"{place}.jsonl").exists(),
                job=job.job if job else batch.job(),
                is_array=len(packs) > 1,
            )
            self._carriers.enter(carrier)
            if is_stale and job is not None and job.state == "PD":
                unwanted.append(carrier)  # it would refuse to run: the checkout holds other code by now
        self._cancel(unwanted)
        self._carriers.catch_up(batch)
