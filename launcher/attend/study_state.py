"""Where a study stands, read from what is on disk: from any terminal, whether a driver lives or not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.drive.driver_lock import holder, is_driven
from launcher.drive.driver_note import DriverNote, read_note
from launcher.on_slurm.left_behind import open_tasks
from sweeps.errors import StudyError
from sweeps.record import RunRecord, Status
from sweeps.spent import core_hours_spent
from tracking.ledger import load_records
from tracking.paths import ProjectPaths

QUEUED, WAITING = "queued", "waiting"
STATES = (*(status.value for status in Status), QUEUED, WAITING)
"""What a run may be: as its record says, handed to a cluster that has not begun it, or still in its driver's hands."""


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """Where a study stands."""

    study: str
    counts: Mapping[str, int]
    """Runs by state; states without any are left out."""
    running: tuple[RunRecord, ...]
    """Those that train now, with their curves."""
    spent_core_hours: float
    """Used by all runs, repeated steps included."""
    reserved_core_hours: float
    """Promised to runs that are queued or train now."""
    total_core_hours: float | None
    """The price of all runs of the last command's plan; missing where none is known."""
    note: DriverNote | None
    """What the last driver said of itself."""
    driver: str | None
    """Who drives the study now; None: nobody."""

    @property
    def is_moving(self) -> bool:
        """Whether something of it is queued or trains, or a driver is at it."""
        return self.driver is not None or bool(self.counts.get(Status.RUNNING.value) or self.counts.get(QUEUED))


def read_state(paths: ProjectPaths, study: str) -> StudyState:
    """Returns where a study stands.

    Raises:
        StudyError: nothing of the study was ever run.
    """
    study_dir = paths.study_dir(study)
    records = load_records(paths, study, curves=True)
    note = read_note(study_dir)
    if not records and note is None:
        raise StudyError(f"nothing of study {study} has been run here (try: make sweep BUDGET=2k STUDY={study})")
    driver = (holder(study_dir) or "another process") if is_driven(study_dir) else None
    queued = _queued(paths, study, records, is_driven=driver is not None)
    counts = Counter(record.status.value for record in records if record.trial.id not in queued)
    counts[QUEUED] = len(queued)
    if note is not None and driver is not None:
        busy = sum(counts[state] for state in (Status.RUNNING.value, QUEUED))
        counts[WAITING] = max(0, note.runs - note.done - busy)
    running = tuple(record for record in records if record.status is Status.RUNNING)
    unused = (
        record.cost.core_hours * (1.0 - record.shared_steps / record.trial.steps)
        - core_hours_spent(record, has_curve=True)
        for record in running
    )
    reserved = sum(queued.values()) + sum(unused)
    return StudyState(
        study=study,
        counts={state: counts[state] for state in STATES if counts[state]},
        running=running,
        spent_core_hours=sum(core_hours_spent(record, has_curve=True) for record in records),
        reserved_core_hours=note.reserved_core_hours if note is not None and driver is not None else max(0.0, reserved),
        total_core_hours=None if note is None else note.total_core_hours,
        note=note,
        driver=driver,
    )


def _queued(paths: ProjectPaths, study: str, records: Sequence[RunRecord], *, is_driven: bool) -> dict[str, float]:
    """Returns the price of each trial that lies in a cluster's queue [core-hours].

    A driver knows which of its jobs Slurm has lost; without one, Slurm is asked.
    """
    begun = {record.trial.id for record in records if record.is_settled or record.status is Status.RUNNING}
    tasks = open_tasks(paths.study_dir(study) / "batches", is_asked=not is_driven)
    return {
        task.trial.id: task.cost.core_hours * (1.0 - task.shared_steps / task.trial.steps)
        for task in tasks
        if task.trial.id not in begun
    }
