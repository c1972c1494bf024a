"""One trial on a simulated cluster: its attempts, what they report, and what its journals would say."""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from launcher.contract.backend import Task
from sweeps.certificate import Certificate, faultless
from sweeps.curve import curve_steps
from sweeps.record import Outcome, Progress, RunRecord, Status
from tracking.attempt_file import Attempt as Journalled
from tracking.journal import fold

_DIVERGES_AFTER = 0.3
"""Part of its steps after which a run diverges."""


class Ending(enum.Enum):
    """How an attempt ends."""

    DONE = "done"
    PAUSED = "paused"
    """Pre-empted, its state saved."""
    KILLED = "killed"
    """Pre-empted without a word."""
    REQUEUED = "requeued"
    """Likewise, and the cluster begins the same job again without telling anybody."""
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt, all of which is known when it begins."""

    task: Task
    first_step: int
    shared_steps: int
    """Those of them that a shorter run has trained."""
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

    def cut_at(self, at_s: float) -> "Attempt":
        """Returns the attempt as it was if somebody killed it then."""
        return replace(self, ending=Ending.KILLED, ends_after_h=(at_s - self.began_s) / 3600.0)

    def points(self) -> Iterator[tuple[float, Progress]]:
        """Yields its reports, at log-spaced steps, with the time of each."""
        trial = self.task.trial
        told = [step for step in curve_steps(trial.steps) if self.first_step < step <= self.last_step]
        if self.is_complete and self.diverges:
            told = [step for step in told if step < self.last_step]
        for step in told:
            yield (
                self._at_s(step),
                Progress(
                    step=step,
                    images=step * trial.batch_images,
                    train_loss=1.0,
                    val_loss=None,
                    wall_s=3600.0 * self.hours * step / trial.steps,
                    shared_steps=self.shared_steps,
                ),
            )

    def outcome(self, losses: tuple[float, float] | None) -> Outcome | None:
        """Returns how the attempt ended; None where the cluster cut it short."""
        trial = self.task.trial
        status = Status.FINISHED if losses is not None else Status.DIVERGED
        steps, shared = self.last_step, self.shared_steps
        if not self.is_complete:
            told = [progress.step for _, progress in self.points()]
            steps, shared = (told[-1], shared) if told else (0, 0)  # all that a trainer that raised has said
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
            shared_steps=self.shared_steps,
        )

    def last_checkpoint(self, every_h: float) -> int:
        """Returns the step of the last checkpoint before its end; its first step where it has made none."""
        done_h = self.hours * (self.last_step - self.first_step) / self.task.trial.steps
        saved_h = every_h * math.floor(done_h / every_h)
        return self.first_step + math.floor(saved_h / self.hours * self.task.trial.steps)

    def _at_s(self, step: int) -> float:
        return self.began_s + 3600.0 * self.hours * (step - self.first_step) / self.task.trial.steps


@dataclass
class _Journal:
    """What one attempt has written."""

    task: Task
    began_s: float
    points: list[Progress] = field(default_factory=list[Progress])
    outcome: Outcome | None = None
    ended_s: float | None = None

    def read(self, *, is_written: bool) -> Journalled:
        """Returns it as a reader of journals finds it."""
        return Journalled(
            trial=self.task.trial,
            cost=self.task.cost,
            budget_core_hours=None,
            code_version="rehearsal",
            device="simulated",
            started_unix_s=self.began_s,
            points=tuple(self.points),
            outcome=self.outcome,
            ended_unix_s=self.ended_s,
            is_written=is_written,
        )


@dataclass
class SimulatedRun:
    """A trial over all its attempts."""

    task: Task
    attempt: Attempt | None = None
    """The one that runs now."""
    saved_step: int = 0
    """Where the next attempt begins."""
    saved_shared_steps: int = 0
    """Those of them that a shorter run has trained."""
    trained_steps: int = 0
    """Really trained by attempts that ended, repeats and unreported ones included."""
    journals: list[_Journal] = field(default_factory=list[_Journal])
    """One for each attempt."""

    def start(self, attempt: Attempt) -> None:
        """Begins an attempt."""
        self.attempt = attempt
        self.journals.append(_Journal(task=attempt.task, began_s=attempt.began_s))

    def report(self, progress: Progress) -> None:
        """Journals a point of the attempt that runs."""
        self.journals[-1].points.append(progress)

    def end(self, outcome: Outcome, at_s: float) -> None:
        """Ends the attempt with an outcome."""
        self.journals[-1].outcome, self.journals[-1].ended_s = outcome, at_s
        self._leave()

    def pause(self, at_s: float) -> None:
        """Ends the attempt with its state saved."""
        assert self.attempt is not None
        self.saved_step, self.saved_shared_steps = self.attempt.last_step, self.attempt.shared_steps
        self.end(self.attempt.cut_short(), at_s)

    def lose(self, checkpoint_every_h: float) -> None:
        """Ends the attempt without a word: the next begins at its last checkpoint."""
        assert self.attempt is not None
        saved_step = self.attempt.last_checkpoint(checkpoint_every_h)
        if saved_step > self.attempt.first_step:
            self.saved_step, self.saved_shared_steps = saved_step, self.attempt.shared_steps
        self._leave()

    def cut(self, checkpoint_every_h: float, at_s: float) -> None:
        """Likewise, at a time before the end that was foreseen."""
        assert self.attempt is not None
        self.attempt = self.attempt.cut_at(at_s)
        told = self.journals[-1].points
        # All of its reports were to be the last ones before the end foreseen.
        told += [point for _, point in self.attempt.points() if not told or point.step > told[-1].step]
        self.lose(checkpoint_every_h)

    def record(self) -> RunRecord | None:
        """Returns what the journals say; None before the first attempt."""
        if not self.journals:
            return None
        earlier, last = self.journals[:-1], self.journals[-1]
        is_written = self.attempt is not None
        return fold([*(journal.read(is_written=False) for journal in earlier), last.read(is_written=is_written)])

    @property
    def trained_core_hours(self) -> float:
        """The price of what attempts that ended have really trained."""
        return self.task.cost.core_hours * self.trained_steps / self.task.trial.steps

    def _leave(self) -> None:
        assert self.attempt is not None
        self.trained_steps += self.attempt.last_step - self.attempt.first_step
        self.attempt = None
