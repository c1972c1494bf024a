"""What Slurm says of our jobs and does with them: the only file that calls its commands."""

import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sweeps.errors import StudyError

TIMEOUT_S = 60.0
_MAX_ARRAY_SIZE = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)
_FIELD = re.compile(r"(\w+)=(\S*)")


class SlurmSilentError(RuntimeError):
    """The controller does not answer: nothing is known of any job, which is no news about one."""


@dataclass(frozen=True, kw_only=True)
class ListedJob:
    """An array task (or whole job) that Slurm has in its queue or on a node."""

    job: str
    """Number of the array, or of the job."""
    place: int
    """Index within the array; 0 for a job without one."""
    name: str
    state: str
    """Two letters as squeue says them: PD R CG ..."""
    reason: str
    """Why it waits."""


def max_array_size() -> int:
    """Returns the number that no index of a job array may reach.

    Raises:
        StudyError: there is no Slurm here.
        SlurmSilentError: its controller does not answer.
    """
    try:
        found = _MAX_ARRAY_SIZE.search(run(["scontrol", "show", "config"]))
    except FileNotFoundError as error:
        raise StudyError(
            "cluster=slurm needs Slurm's commands (sbatch, squeue, scontrol, scancel), and scontrol is not found here; "
            "type the command on a login node, or train on this machine (try: CLUSTER=local)"
        ) from error
    if found is None:
        raise SlurmSilentError("scontrol show config says no MaxArraySize")
    return int(found[1])


def listed_jobs(names: Collection[str]) -> list[ListedJob]:
    """Returns our jobs of these names that are queued or run, one for each array task; {} asks nothing.

    Raises:
        SlurmSilentError: the controller does not answer.
    """
    if not names:
        return []
    # Not by job number: Slurm forgets finished ones and then calls the number invalid.
    answer = run(["squeue", "--noheader", "--array", "--name", ",".join(names), "--format", "%F|%K|%j|%t|%r"])
    return [_listed(line) for line in answer.splitlines() if line.count("|") >= 4]


def _listed(line: str) -> ListedJob:
    job, place, name, state, reason = line.split("|", 4)
    return ListedJob(job=job, place=int(place) if place.isdigit() else 0, name=name, state=state, reason=reason)


def accepted_places(job: str) -> set[int] | None:
    """Returns the indices of an array that Slurm took, ended ones included; None where it cannot be asked."""
    words = ["squeue", "--noheader", "--array", "--states", "all", "--jobs", job, "--format", "%K"]
    try:
        return {int(place) if place.isdigit() else 0 for place in run(words).split()}
    except SlurmSilentError:
        return None


def last_words(job: str, place: int | None) -> str:
    """Returns how a job ended as far as Slurm remembers it, with accounting or without."""
    full = job if place is None else f"{job}_{place}"
    for ask in (_from_controller, _from_accounting):
        try:
            fields = ask(full)
        except (SlurmSilentError, FileNotFoundError):
            continue
        if fields.get("JobState"):
            code = fields.get("ExitCode", "0:0")
            where = fields.get("NodeList", "")
            return f"Slurm ended job {full} as {fields['JobState']}" + (
                f" (exit code {code}{', on ' + where if where and where != '(null)' else ''})"
            )
    return f"Slurm knows nothing more of job {full}"


def _from_controller(job: str) -> Mapping[str, str]:
    return dict(_FIELD.findall(run(["scontrol", "--oneliner", "show", "job", job]).splitlines()[0]))


def _from_accounting(job: str) -> Mapping[str, str]:
    line = run(["sacct", "--noheader", "--parsable2", "--jobs", job, "--format", "State,ExitCode,NodeList"])
    first = line.splitlines()[0].split("|") if line.strip() else []
    return dict(zip(("JobState", "ExitCode", "NodeList"), first, strict=False))


def cancel(jobs: Sequence[str]) -> None:
    """Cancels jobs or array tasks (`12`, `12_3`); those that have ended are passed over."""
    for first in range(0, len(jobs), 500):  # a command line has a length
        run(["scancel", "--quiet", *jobs[first : first + 500]], is_checked=False)


def cancel_named(names: Sequence[str]) -> None:
    """Cancels all jobs of these names, of which there may be none.

    Raises:
        SlurmSilentError: the controller does not answer.
    """
    cancel(sorted({job.job for job in listed_jobs(names)}))


def start_now(job: str) -> None:
    """Lets a requeued job start at once: Slurm would make it wait two minutes. Harmless where that is not allowed."""
    run(["scontrol", "update", f"JobId={job}", "StartTime=now"], is_checked=False)


def release(job: str) -> None:
    """Lets a held job go. Harmless where that is not allowed."""
    run(["scontrol", "release", job], is_checked=False)


def run(words: Sequence[str], *, is_checked: bool = True) -> str:
    """Returns what a command of Slurm's prints.

    Raises:
        SlurmSilentError: it fails or does not end, and `is_checked`.
        FileNotFoundError: there is no such command.
    """
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        if not is_checked:
            return ""
        raise SlurmSilentError(f"{words[0]} does not answer within {TIMEOUT_S:.0f} s") from error
    if done.returncode and is_checked:
        raise SlurmSilentError(f"{' '.join(words[:3])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
