"""One trial on a simulated cluster: its attempts, what they report, and what its journals would say."""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from launcher.contract.backend import Task
from sweeps.certificate import Certificate, faultless
from sweeps.curve import curve_steps, unreported
from sweeps.record import Outcome, Progress, RunRecord, Status
from tracking.journal import join_curves, repeated_steps

_LAST_POINTS = 4
"""Reports of an attempt that are told of besides its first, which shows where it began: the others lie close."""
_DIVERGES_AFTER = 0.3
"""Part of its steps after which a run diverges."""


class Ending(enum.Enum):
    """How an attempt ends."""

    DONE = "done"
    PAUSED = "paused"
    """Pre-empted, its state saved."""
    KILLED = "killed"
    """Pre-empted without a word."""
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt, all of which is known when it begins."""

    task: Task
    first_step: int
    began_s: float
    hours: float
    """Of the whole trial, from its first step to its last [h]."""
    ending: Ending
    ends_after_h: float
    diverges: bool

    @property
    def end_step(self) -> int:
        """The step at which a run of this trial ends by itself."""
        steps = self.task.trial.steps
        return max(1, math.ceil(_DIVERGES_AFTER * steps)) if self.diverges else steps

    @property
    def last_step(self) -> int:
        """The last step that the attempt trains."""
        per_step_h = self.hours / self.task.trial.steps
        reached = self.first_step + (self.ends_after_h / per_step_h if math.isfinite(self.ends_after_h) else math.inf)
        return self.end_step if reached >= self.end_step else max(self.first_step, math.floor(reached))

    @property
    def is_complete(self) -> bool:
        """Whether the trial ends with it, well or badly."""
        return self.last_step == self.end_step

    @property
    def ends_s(self) -> float:
        """When it ends [s of virtual time]."""
        return self._at_s(self.last_step)

    def points(self) -> Iterator[tuple[float, Progress]]:
        """Yields the last reports before its end, with the time of each; a run reports at log-spaced steps."""
        trial = self.task.trial
        told = [step for step in curve_steps(trial.steps) if self.first_step < step <= self.last_step]
        if self.is_complete and self.diverges:
            told = [step for step in told if step < self.last_step]
        for step in (*told[:1], *told[1:][-_LAST_POINTS:]):
            yield (
                self._at_s(step),
                Progress(
                    step=step,
                    images=step * trial.batch_images,
                    train_loss=1.0,
                    val_loss=None,
                    wall_s=3600.0 * self.hours * step / trial.steps,
                    shared_steps=self.task.shared_steps,
                ),
            )

    def outcome(self, losses: tuple[float, float] | None) -> Outcome | None:
        """Returns how the attempt ended; None where the cluster cut it short."""
        trial, shared = self.task.trial, self.task.shared_steps
        status = Status.FINISHED if losses is not None else Status.DIVERGED
        steps = self.last_step
        if not self.is_complete:
            told = [progress.step for _, progress in self.points()]
            steps = told[-1] if told else 0  # all that a trainer that raised has said
            ended = {Ending.FAILED: Status.FAILED, Ending.OUT_OF_MEMORY: Status.OUT_OF_MEMORY}
            if self.ending not in ended:
                return None
            status = ended[self.ending]
        certificate: Certificate = ()
        if status is Status.FINISHED:
            certificate = faultless(images=trial.images, images_per_epoch=trial.data.images_per_epoch)
        is_finished = status is Status.FINISHED and losses is not None
        return Outcome(
            status=status,
            steps=steps,
            val_loss=losses[0] if is_finished and losses else None,
            selection_loss=losses[1] if is_finished and losses else None,
            train_loss=losses[0] if is_finished and losses else None,
            wall_s=3600.0 * self.hours * steps / trial.steps,
            compile_s=0.0,
            error=f"simulated failure of {trial.name} at step {self.last_step}" if status is Status.FAILED else None,
            certificate=certificate,
            shared_steps=shared,
        )

    def cut_short(self) -> Outcome:
        """Returns the outcome of an attempt that saved its state when it was asked to make room."""
        return Outcome(
            status=Status.KILLED,
            steps=self.last_step,
            val_loss=None,
            selection_loss=None,
            train_loss=None,
            wall_s=3600.0 * self.hours * self.last_step / self.task.trial.steps,
            compile_s=0.0,
            shared_steps=self.task.shared_steps,
        )

    def last_checkpoint(self, every_h: float) -> int:
        """Returns the step of the last checkpoint before its end."""
        done_h = self.hours * (self.last_step - self.first_step) / self.task.trial.steps
        saved_h = every_h * math.floor(done_h / every_h)
        return self.first_step + math.floor(saved_h / self.hours * self.task.trial.steps)

    def _at_s(self, step: int) -> float:
        return self.began_s + 3600.0 * self.hours * (step - self.first_step) / self.task.trial.steps


@dataclass
class SimulatedRun:
    """A trial over all its attempts."""

    task: Task
    attempt: Attempt | None = None
    """The one that runs now."""
    saved_step: int = 0
    """Where the next attempt begins."""
    trained_steps: int = 0
    """Really trained by attempts that ended, repeats and unreported ones included."""
    curves: list[list[Progress]] = field(default_factory=list[list[Progress]])
    """What each attempt has reported."""
    front_step: int = 0
    """The furthest step that an attempt has told of."""
    unseen_steps: int = 0
    """What attempts may have trained that died without a word, as the journals tell."""
    outcome: Outcome | None = None
    """Of the last attempt that had one."""
    last_status: Status = Status.KILLED
    """How the last attempt ended."""
    began_s: float = 0.0
    ended_s: float | None = None

    def start(self, attempt: Attempt) -> None:
        """Begins an attempt."""
        self.began_s = self.began_s if self.curves else attempt.began_s
        self.attempt, self.ended_s = attempt, None
        self.curves.append([])

    def report(self, progress: Progress) -> None:
        """Keeps a point of the attempt that runs."""
        self.curves[-1].append(progress)
        self.front_step = max(self.front_step, progress.step)

    def end(self, outcome: Outcome, at_s: float) -> None:
        """Ends the attempt with an outcome."""
        self.front_step = max(self.front_step, outcome.steps)
        self.outcome, self.last_status = outcome, outcome.status
        if outcome.status in (Status.FAILED, Status.OUT_OF_MEMORY):
            self._count_unseen()
        self._leave(at_s)

    def pause(self, at_s: float) -> None:
        """Ends the attempt with its state saved."""
        assert self.attempt is not None
        self.saved_step = self.attempt.last_step
        self.outcome, self.last_status = self.attempt.cut_short(), Status.KILLED
        self.front_step = max(self.front_step, self.saved_step)
        self._leave(at_s)

    def lose(self, checkpoint_every_h: float, at_s: float) -> None:
        """Ends the attempt without a word: the next begins at its last checkpoint."""
        assert self.attempt is not None
        self.last_status = Status.KILLED
        self.saved_step = max(self.saved_step, self.attempt.last_checkpoint(checkpoint_every_h))
        self._count_unseen()
        self._leave(at_s)

    def record(self) -> RunRecord | None:
        """Returns what the journals say; None before the first attempt."""
        if not self.curves:
            return None
        status = Status.RUNNING if self.attempt else self.last_status
        return RunRecord(
            trial=self.task.trial,
            cost=self.task.cost,
            budget_core_hours=None,
            status=status,
            outcome=self.outcome,
            curve=join_curves(self.curves),
            attempts=len(self.curves),
            code_version="rehearsal",
            device="simulated",
            started_unix_s=self.began_s,
            ended_unix_s=self.ended_s,
            repeated_steps=repeated_steps(self.curves),
            unseen_steps=self.unseen_steps,
            attempt_step=self.curves[-1][-1].step if self.curves[-1] else None,
        )

    @property
    def trained_core_hours(self) -> float:
        """The price of what attempts that ended have really trained."""
        return self.task.cost.core_hours * self.trained_steps / self.task.trial.steps

    def _count_unseen(self) -> None:
        last = self.curves[-1][-1].step if self.curves[-1] else None
        self.unseen_steps += unreported(self.task.trial, last, front=self.front_step)

    def _leave(self, at_s: float) -> None:
        assert self.attempt is not None
        self.trained_steps += self.attempt.last_step - self.attempt.first_step
        self.attempt, self.ended_s = None, at_s
