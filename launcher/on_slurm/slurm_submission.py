"""Hands a batch of packs to Slurm as job arrays, through submitit."""

import contextlib
import hashlib
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from launcher.contract.backend import Task
from launcher.contract.batch_folder import Batch
from launcher.on_slurm.slurm_commands import SlurmSilentError, accepted_places, cancel
from launcher.settings.request import SlurmCluster
from launcher.work.worker_environment import worker_environment
from sweeps.errors import StudyError
from tracking.paths import CHECKOUT

START_UP_S = 600.0
"""Part of every time limit: Python, JAX, compilation, held-out evaluation, a last checkpoint."""
TIME_SLACK = 2.0
UNKNOWN_TIME_MIN = 120
"""Time limit of jobs whose trials nobody can predict yet; one that runs out of it saves and goes on."""
MAX_REQUEUES = 10_000
"""submitit's own count is no judge: a job that makes progress may be put off as often as Slurm likes."""
ACCEPTANCE_S = 30.0
JOB_HOURS = 0.5
"""A job should last about this long: shorter ones pay start-up too often, longer ones wait for one another."""

_PLAIN_PATH = re.compile(r"[\w./+@:,=-]+", re.ASCII)
_FOREIGN_LIMITS = (
    *("MaxSubmitJob", "MaxJobsPerUser", "AssocMaxSubmit", "QOSMaxSubmit", "submit limit", "MaxJobCount"),
    *("Slurm temporarily unable to accept job", "Resource temporarily unavailable", "Socket timed out"),
    *("Unable to contact slurm controller", "Connection refused", "Zero Bytes were transmitted"),
)
"""What sbatch says when it would take the same job later."""


class QueueFullError(RuntimeError):
    """Slurm takes no more jobs at present."""


def time_limit_min(tasks: Sequence[Task], spec: SlurmCluster) -> int:
    """Returns the time limit of a pack's job [minutes]: the one given, else twice what is predicted and ten minutes.

    Predicted limits go up in steps of a quarter, so that packs of nearly the same length travel in one array.
    """
    if spec.time_min is not None:
        return spec.time_min
    predicted = [task.cost.wall_hours for task in tasks]
    hours = [wall_hours for wall_hours in predicted if wall_hours is not None]
    if len(hours) < len(predicted):
        return UNKNOWN_TIME_MIN
    minutes = (TIME_SLACK * 3600.0 * sum(hours) + START_UP_S) / 60.0
    return math.ceil(1.25 ** math.ceil(math.log(minutes, 1.25)))


def split_pack(tasks: tuple[Task, ...], spec: SlurmCluster) -> list[tuple[Task, ...]]:
    """Returns a pack in parts, one for each job: so many trials as are asked for, or as half an hour holds."""
    hours = [task.cost.wall_hours for task in tasks]
    if spec.trials_per_job is not None:
        size = spec.trials_per_job
    elif any(wall_hours is None for wall_hours in hours):
        size = len(tasks)
    else:
        size = max(1, int(JOB_HOURS / max(wall_hours or 0.0 for wall_hours in hours) or 1))
    return [tasks[first : first + size] for first in range(0, len(tasks), size)]


def submit_array(batch: Batch, count: int, minutes: int, spec: SlurmCluster) -> str:
    """Returns Slurm's number for the job that carries the packs of a batch, each as one array task.

    Raises:
        QueueFullError: Slurm takes no more at present, or does not answer.
        StudyError: Slurm refuses what is asked for; its own words are in the message.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from launcher.on_slurm.slurm_job import PackJob

    batch.logs_dir.mkdir(parents=True, exist_ok=True)
    try:
        with _outside_any_job():
            make: Any = SlurmExecutor
            executor = make(plain_path(batch.logs_dir), max_num_timeout=MAX_REQUEUES, python=_python(spec))
            executor.update_parameters(**_parameters(batch, minutes, spec, count))
            jobs = executor.submit_array([PackJob(folder=batch.folder, place=place) for place in range(count)])
    except (FailedJobError, FailedSubmissionError) as error:
        text = str(error)
        if any(words in text for words in _FOREIGN_LIMITS):
            raise QueueFullError(text) from error
        raise StudyError(
            f"Slurm refused the job: {_refusal(text)}; settings of jobs are cluster.partition, cluster.account, "
            "cluster.time_min, cluster.mem_gb ... (try: EXTRA='cluster.partition=NAME', and sinfo for the names)"
        ) from error
    except RuntimeError as error:  # submitit finds no srun
        raise StudyError(f"cluster=slurm needs Slurm's commands: {error} (try: CLUSTER=local)") from error
    job = str(jobs[0].job_id).split("_")[0]
    batch.note_job(job)
    _verify(job, count)
    return job


def _verify(job: str, count: int) -> None:
    """Raises StudyError where Slurm has taken fewer array tasks than were handed in: nobody would miss the others."""
    deadline = time.monotonic() + ACCEPTANCE_S
    places: set[int] | None = None
    while time.monotonic() < deadline:
        places = accepted_places(job)
        if places is not None and len(places) >= count:
            return
        time.sleep(0.2)
    if places is None:
        return  # the controller is silent: the tasks are missed, and handed in again, when it answers without them
    with contextlib.suppress(SlurmSilentError):
        cancel([job])
    raise StudyError(
        f"Slurm accepted {len(places)} of the {count} tasks of job array {job}, which was cancelled; ask for fewer at "
        "once (try: EXTRA='cluster.max_queued=100')"
    )


def _parameters(batch: Batch, minutes: int, spec: SlurmCluster, count: int) -> dict[str, Any]:
    order = batch.order()
    environment = worker_environment(order.paths.compile_cache, is_on_cpu=spec.gpus == 0)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    wanted = {
        "job_name": job_name(batch),
        "time": minutes,
        "nodes": spec.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": spec.cpus,
        "gpus_per_node": spec.gpus or None,
        "mem": None if spec.mem_gb is None else f"{round(1024 * spec.mem_gb)}MB",
        "partition": spec.partition,
        "account": spec.account,
        "qos": spec.qos,
        "constraint": spec.constraint,
        "signal_delay_s": spec.signal_delay_s,
        "array_parallelism": spec.max_running or count,
        "setup": [*spec.setup, *exports],
        "stderr_to_stdout": True,
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={spec.cpus}"],
        "additional_parameters": {"requeue": True, "chdir": str(plain_path(CHECKOUT))},
    }
    return {name: value for name, value in wanted.items() if value is not None}


def job_name(batch: Batch) -> str:
    """Returns the name under which squeue lists the jobs of a batch."""
    return f"loglog-{batch.name}"


def log_path(batch: Batch, job: str, place: int | None) -> Path:
    """Returns the file that one pack's job prints into."""
    full = job if place is None else f"{job}_{place}"
    return batch.logs_dir / f"{full}_0_log.out"


def plain_path(path: Path) -> Path:
    """Returns a path to the same folder that Slurm can read: its own patterns would expand %A and trip over newlines.

    Where the path has such letters, that is a link below ~/.cache/loglog, which jobs must see too.
    """
    if _PLAIN_PATH.fullmatch(str(path)):
        return path
    alias = Path.home() / ".cache" / "loglog" / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    alias.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        alias.symlink_to(path, target_is_directory=True)
    return alias


def _python(spec: SlurmCluster) -> str:
    return shlex.quote(spec.python or sys.executable)


def _refusal(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "error:" in line]
    return "; ".join(line.partition("error:")[2].strip() for line in lines) or text.strip()[-300:]


@contextlib.contextmanager
def _outside_any_job() -> Generator[None]:
    """Hides the variables of a job that this driver itself may run in: sbatch would take them for settings."""
    prefixes = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
    hidden = {name: value for name, value in os.environ.items() if name.startswith(prefixes) and name != "SLURM_CONF"}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
