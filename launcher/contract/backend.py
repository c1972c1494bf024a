"""What every back end offers, and the few nouns that cross between the driver and where trials run."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweeps.compute import ComputeSpec
from sweeps.cost import Cost
from sweeps.record import Outcome, Progress
from sweeps.trial import Trial
from tracking.paths import ProjectPaths

TRAINER = "training.loop:train"
"""`module:function` that trains; the same module offers prepare_data."""

HANG_GRACE_S = 60.0
"""A trial past its limit gets this long to reach a step boundary, save and end by itself."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One trial to be run."""

    trial: Trial
    cost: Cost
    """What the plan priced it at."""
    limit_s: float | None = None
    """An attempt that runs longer saves its state and is lost [s of wall time]; absent: no limit."""
    shared_steps: int = 0
    """Steps that it is to take over from a shorter run of its trunk, so that only the others are paid for."""
    after: str | None = None
    """The id of the trial that leaves them, which has to be settled first; absent: they are there."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What all tasks of one sweep share; all that a worker is told besides its tasks."""

    paths: ProjectPaths
    study: str
    budget_core_hours: float | None
    code_version: str
    trainer: str = TRAINER
    command: tuple[str, ...] = ()
    """For trainers that start a program of the user's: its words."""
    compute: ComputeSpec = ComputeSpec()
    """How this project's own training spreads its work over devices, and how often it saves."""
    is_code_pinned: bool = False
    """Whether a job that starts later refuses to run on other code than `code_version`."""

    @property
    def log_dir(self) -> Path:
        """The folder of what workers print."""
        return self.paths.study_dir(self.study) / "logs"


@dataclass(frozen=True, kw_only=True)
class Started:
    """A worker has opened a trial's journal and trains it from now on."""

    trial_id: str
    worker: str
    is_compiling: bool
    """Whether this worker meets the trial's program for the first time."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A running trial has reported a point of its curve."""

    trial_id: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An attempt is over and journalled, well or badly."""

    trial_id: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Paused:
    """The trial has saved its state, since its job has to make room; the same job goes on with it later."""

    trial_id: str
    reason: str
    saved_step: int = 0
    """The step of the state that was saved on purpose; 0 where none was."""
    shared_steps: int = 0
    """Those of them that were taken over from a shorter run."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Whatever ran the trial died under it, or ran out of time or disk; the attempt may be repeated."""

    trial_id: str
    reason: str
    saved_step: int = 0
    """The step of the state that was saved on purpose; 0 where none was."""
    shared_steps: int = 0
    """Those of them that were taken over from a shorter run."""


@dataclass(frozen=True, kw_only=True)
class TrunkGone:
    """The steps that the task was to take over are nowhere to be found: nothing was trained, for it is not paid for."""

    trial_id: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """A living process outside this sweep writes the trial's journal, or one has settled it: it was not started."""

    trial_id: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The user has to mend something before any trial can run (data that is not there, for example)."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The back end cannot run anything."""

    reason: str


Event = Started | Moved | Ended | Paused | Lost | TrunkGone | Held | Refused | Broken
AttemptOver = Ended | Paused | Lost | TrunkGone | Held
"""After any of these, nobody is at the trial."""


class Stop(enum.Enum):
    """Why a trial in training is asked to save its state and end."""

    MAKE_ROOM = "make room"
    """The job has to leave, and will come back to it."""
    OUTRUN = "outrun"
    """Others of its cell are ahead: it is over."""


ShouldStop = Callable[[], Stop | None]
"""Asked at every step boundary of a trial."""


class Backend(Protocol):
    """Where trials run. A new cluster fills these holes."""

    @property
    def silence(self) -> str | None:
        """What keeps the cluster from answering, or packs from starting, if anything seems to."""
        ...

    def submit(self, tasks: Sequence[Task]) -> str:
        """Returns the name of the job that will run `tasks`, which share one compiled program; never waits."""
        ...

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns what happened since the last call, at latest after `timeout_s`; events of one trial are in order."""
        ...

    def cancel(self, job: str) -> None:
        """Drops the job's tasks, the running one too: no event of them comes any more."""
        ...

    def logs(self, job: str) -> str:
        """Returns what the job's tasks have printed so far."""
        ...

    def underway(self) -> Sequence[Task]:
        """Returns the tasks that an earlier driver has handed in and that are still queued or run."""
        ...

    def stop(self) -> None:
        """Cancels everything that is queued or runs for this study."""
        ...

    def close(self) -> None:
        """Lets go: what needs this process ends, jobs in a cluster's queue stay. Harmless when repeated."""
        ...
