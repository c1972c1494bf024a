"""What happened to a trial: progress and outcome as training reports them, and the record that remains."""

import enum
from dataclasses import dataclass, field

from sweeps.canonical import SILENT_AT_DEFAULT
from sweeps.certificate import Certificate, fault
from sweeps.cost import Cost
from sweeps.trial import Trial

MAX_ATTEMPTS = 3
"""A trial that raised an exception this often within one command is left to the next one."""
MARKED = "it was marked as tainted in MLflow"
"""The taint of a run that somebody has marked."""


class Status(enum.StrEnum):
    """How a run stands. Failure is data: a diverged run bounds the stable learning rate."""

    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    """It does not fit on the device it was given: known until somebody asks for it again (make retry)."""
    STOPPED = "stopped"
    """Ended early by choice, since other learning rates of its cell were ahead: no loss of it enters a fit."""
    FAILED = "failed"
    KILLED = "killed"

    @property
    def is_final(self) -> bool:
        """Whether no attempt can follow, whatever somebody asks for: the trial alone decided how it ended."""
        return self in (Status.FINISHED, Status.DIVERGED)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One point of a run's curve, reported by training while it runs."""

    step: int
    """Optimiser steps done."""
    images: int
    train_loss: float
    """Mean training loss since the last point [nats]."""
    val_loss: float | None
    """Held-out loss [nats], at the points where it was measured."""
    wall_s: float
    """Training time so far, over all attempts, without compilation [s]."""
    shared_steps: int = field(default=0, metadata=SILENT_AT_DEFAULT)
    """Steps taken over from a shorter run of the same trunk, which has paid for them."""


@dataclass(frozen=True, kw_only=True)
class CostClock:
    """Where a run's time went, over all its attempts [s]; the parts exclude one another."""

    compile_s: float = 0.0
    input_wait_s: float = 0.0
    """Devices that had nothing to do because the next batch was not there yet; an upper bound."""
    step_s: float = 0.0
    evaluation_s: float = 0.0
    checkpoint_s: float = 0.0
    """Training that stood still for a checkpoint to be copied; writing it goes on beside the training."""
    lost_s: float = 0.0
    """Work after the last checkpoint of attempts that were killed, done again by the next."""

    @property
    def total_s(self) -> float:
        """What the run is billed for."""
        return sum((self.compile_s, self.input_wait_s, self.step_s, self.evaluation_s, self.checkpoint_s, self.lost_s))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt at a trial ended."""

    status: Status
    steps: int
    """Optimiser steps done, over all attempts."""
    val_loss: float | None
    """Held-out loss at the end [nats]; missing unless finished."""
    selection_loss: float | None
    """Loss on the other held-out images, on which learning rates are chosen [nats]."""
    train_loss: float | None
    """Mean training loss of the last part of the run [nats]."""
    wall_s: float
    """Training time over all attempts, without compilation [s]."""
    compile_s: float
    """Compilation of this attempt [s]."""
    error: str | None = None
    """For failed attempts: the traceback's text."""
    val_error: float | None = None
    """Part of the held-out images whose most probable class is not the most probable of their targets (top-1 error)."""
    clock: CostClock | None = None
    """Missing where the trainer keeps none."""
    certificate: Certificate = ()
    """What was sampled; empty where the trainer does not say."""
    corrupt_images: int = 0
    """Images that could not be decoded and were left out of their batches."""
    cores: int = 1
    """Processor cores or accelerator cores that the run kept busy."""
    peak_memory_bytes: int | None = None
    """Most memory in use on any one device; missing where the device does not tell."""
    shared_steps: int = field(default=0, metadata=SILENT_AT_DEFAULT)
    """Steps taken over from a shorter run of the same trunk, which has paid for them: no time of this run is theirs."""

    @property
    def core_hours_billed(self) -> float | None:
        """What the run kept busy [core-hours of its own machine]; missing without a clock."""
        return None if self.clock is None else self.clock.total_s * self.cores / 3600


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A trial and what happened to it, over all its attempts."""

    trial: Trial
    cost: Cost
    """What the plan priced it at, in the study's reference hardware."""
    budget_core_hours: float | None
    """The BUDGET of the sweep that launched it."""
    status: Status
    outcome: Outcome | None
    """Of the last attempt that ended; missing while none has."""
    curve: tuple[Progress, ...]
    """Points in order of step; points that a later attempt repeated are dropped. Empty when not asked for."""
    attempts: int
    code_version: str
    device: str
    """What it ran on, as JAX names it."""
    started_unix_s: float
    ended_unix_s: float | None
    is_marked: bool = False
    """Whether somebody has marked it as tainted in MLflow."""
    repeated_steps: int = 0
    """Steps that were trained more than once, since an attempt died after its last checkpoint: paid for again."""
    unseen_steps: int = 0
    """Steps that attempts may have trained after their last report, having died without a word."""
    attempt_step: int | None = None
    """The step of the last attempt's last report; missing where it made none, or the source does not tell."""
    is_forgiven: bool = False
    """Whether somebody has asked for another attempt after it ran out of memory."""

    @property
    def taint(self) -> str | None:
        """What is known to be wrong with it, so that fits trust it less; None where nothing is.

        A finished run must show that it saw every sample once in each of its epochs.
        """
        if self.is_marked:
            return MARKED
        if self.status is not Status.FINISHED or self.outcome is None:
            return None
        return fault(
            self.outcome.certificate,
            images=self.trial.images // self.trial.recipe.augmentation_multiplicity,
            images_per_epoch=self.trial.data.images_per_epoch,
        )

    @property
    def tainted(self) -> bool:
        """Whether something is known to be wrong with it."""
        return self.taint is not None

    @property
    def is_settled(self) -> bool:
        """Whether no further attempt is owed. A failed trial stays owed: its cause may be mended.

        So does a stopped one, which only the strategy that stops runs calls done.
        """
        if self.status is Status.OUT_OF_MEMORY:
            return not self.is_forgiven
        return self.status.is_final

    @property
    def steps_done(self) -> int | None:
        """Steps that were trained, as far as was reported, and none of them twice; missing where nothing is known."""
        known = [point.step for point in self.curve[-1:]]
        # What an attempt had done that failed, a later one does again.
        if self.outcome and (self.status is self.outcome.status or self.outcome.status is not Status.FAILED):
            known.append(self.outcome.steps)
        return min(self.trial.steps, max(known)) if known else None

    @property
    def shared_steps(self) -> int:
        """Steps among those done that a shorter run has paid for; where sources differ, the fewest."""
        known = [point.shared_steps for point in self.curve[-1:]]
        return min(known + ([self.outcome.shared_steps] if self.outcome else []), default=0)

    @property
    def val_loss(self) -> float | None:
        """The reported held-out loss [nats]; missing unless the run finished."""
        return self.outcome.val_loss if self.outcome and self.status is Status.FINISHED else None
