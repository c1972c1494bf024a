"""What drivers have left in Slurm's queue, seen from a terminal without one."""

import time
from collections.abc import Sequence
from pathlib import Path

from launcher.contract.backend import Ended, Held, Lost, Task, TrunkGone
from launcher.contract.batch_folder import Batch, Inbox, open_batches
from launcher.on_slurm import slurm_commands
from launcher.on_slurm.slurm_commands import SlurmSilentError
from launcher.on_slurm.slurm_submission import job_name
from sweeps.errors import StudyError

_ENDING = "CG"
"""State of a job that has ended and whose node is still being cleared."""
CANCEL_S = 30.0
"""So long a cancelled job may take to leave the queue."""


def open_tasks(batches_dir: Path, *, is_asked: bool) -> list[Task]:
    """Returns the tasks of all open batches that have not ended.

    Args:
        batches_dir: the study's.
        is_asked: whether Slurm is asked which jobs it still has; where it does not answer, all are taken to be there.
    """
    batches = open_batches(batches_dir, cluster="slurm")
    places = _listed_places(batches) if is_asked and batches else None
    found: list[Task] = []
    for batch in batches:
        over = {
            (place, event.trial_id)
            for place, event in Inbox(batch).read()
            if isinstance(event, (Ended, Lost, TrunkGone, Held))
        }
        for place, tasks in enumerate(batch.packs()):
            if places is None or (job_name(batch), place) in places:
                found += [task for task in tasks if (place, task.trial.id) not in over]
    return found


def _listed_places(batches: Sequence[Batch]) -> set[tuple[str, int]] | None:
    try:
        return {(job.name, job.place) for job in slurm_commands.listed_jobs([job_name(batch) for batch in batches])}
    except (SlurmSilentError, FileNotFoundError):
        return None


def cancel_open_batches(batches_dir: Path) -> int:
    """Returns how many packs were taken out of Slurm's queue; asks it only if there may be any.

    Raises:
        StudyError: Slurm does not answer, or keeps some: those of another user, say.
    """
    batches = open_batches(batches_dir, cluster="slurm")
    if not batches:
        return 0
    names = [job_name(batch) for batch in batches]
    try:
        listed = [job for job in slurm_commands.listed_jobs(names) if job.state != _ENDING]
        slurm_commands.cancel(sorted({job.job for job in listed}))
        deadline = time.monotonic() + CANCEL_S
        while left := [job for job in slurm_commands.listed_jobs(names) if job.state != _ENDING]:
            if time.monotonic() > deadline:
                raise StudyError(
                    f"Slurm still has {len(left)} packs after scancel, the first of them job {left[0].job}: it may be "
                    "another user's (see squeue; try: make stop, later)"
                )
            time.sleep(0.5)
    except (SlurmSilentError, FileNotFoundError) as error:
        raise StudyError(
            f"Slurm does not answer, so nothing is known to be cancelled: {error} (try: make stop, later)"
        ) from error
    for batch in batches:
        batch.close()
    return len(listed)
