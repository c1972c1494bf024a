"""Training one trial: a pure function of the trial, resumed exactly after a kill, reporting through a callback."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from sweeps.compute import ComputeSpec
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec, Trial
from training.agreement import any_host_says, leader_says
from training.checkpoint import CheckpointFolder, Resumable
from training.clock import Heartbeat, Stopwatch
from training.compilation import programs_of
from training.curve import curve_steps, is_scored
from training.data import open_source
from training.device_peaks import peak_memory_bytes
from training.disk_budget import DiskBudget
from training.evaluation import HeldOutScore, score
from training.feed import STEPS_PER_DISPATCH, Feed, open_feed
from training.mesh import place
from training.milestones import Milestones
from training.source import HELD_OUT, SELECTION
from training.step import horizon_of
from training.steps import take_steps
from training.weights import keep_weights, start_from


def train(
    trial: Trial,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None,
    report: Callable[[Progress], None],
    should_stop: Callable[[], bool] = lambda: False,
    compute: ComputeSpec = ComputeSpec(),
    weights_dir: Path | None = None,
    trunks_dir: Path | None = None,
    least_start_step: int = 0,
) -> Outcome:
    """Returns how the trial ended; a loss that is not finite ends it as diverged.

    The losses depend on the trial alone: a run that was killed and resumed from `checkpoint_dir` gives the same
    numbers, from the same samples in the same order, as one that was not. On another number of devices the samples are
    the same and the numbers agree to rounding. So does a run that takes over the steps of a shorter one of its trunk.
    Compiled programs stay in the process.

    Args:
        data_dir: where image files lie.
        checkpoint_dir: where checkpoints are kept; whoever records the outcome removes it. None: nowhere.
        report: called at log-spaced steps, in order; steps before the checkpoint that a run resumes from are not
            reported again.
        should_stop: asked after every dispatch; once it says yes, in any of the processes that train together, the
            state is saved and the run ends as killed, at the same step in all of them.
        compute: how the work is spread over the devices, and how often it is saved.
        weights_dir: where the final weights of finished runs are kept, and the trunk's are looked for. None: nowhere.
        trunks_dir: where runs leave milestones to longer ones, and this one looks for one. None: nowhere.
        least_start_step: a run that has to begin before this step trains nothing and ends as killed, at the step where
            it would have begun.

    Raises:
        StudyError: the trial's data or its trunk's weights are missing or broken, or the batch does not fit the
            devices.
    """
    run = _Run(
        trial,
        data_dir=data_dir,
        checkpoint_dir=checkpoint_dir,
        compute=compute,
        weights_dir=weights_dir,
        trunks_dir=trunks_dir,
    )
    try:
        return run.to_its_end(report, should_stop, least_start_step)
    finally:
        run.milestones.publish()
        run.folder.close()


class _Run:
    """One attempt at a trial: what it holds between two dispatches."""

    def __init__(
        self,
        trial: Trial,
        *,
        data_dir: Path,
        checkpoint_dir: Path | None,
        compute: ComputeSpec,
        weights_dir: Path | None,
        trunks_dir: Path | None,
    ) -> None:
        self.trial, self.compute, self.weights_dir = trial, compute, weights_dir
        self.source = open_source(trial.data, data_dir)
        started = time.perf_counter()
        self.programs = programs_of(trial, data_dir, compute)
        self.compile_s = time.perf_counter() - started
        of_study = None if checkpoint_dir is None else checkpoint_dir.parent
        self.budget = _disk_budget(compute, of_study, weights_dir, trunks_dir)
        self.folder = CheckpointFolder(checkpoint_dir, budget=self.budget)
        self.milestones = Milestones(trial, trunks_dir, checkpoint_dir, budget=self.budget)
        self.heartbeat = Heartbeat(checkpoint_dir)
        self.horizon = horizon_of(trial)
        self._begin()

    def _begin(self) -> None:
        """Takes up the newest checkpoint, a shorter run's milestone or another trial's weights, or begins afresh."""
        trial = self.trial
        fresh = self.programs.start(np.int32(trial.seed))
        now = self.folder.load(like=fresh) or self.milestones.take(like=fresh)
        if now is None:
            state = start_from(fresh, self.weights_dir, trial.trunk_id) if trial.trunk_id else fresh
            now = Resumable(state)
        self.state, self.step, self.loss_step = now.state, now.step, now.loss_step
        self.evaluated_images, self.shared_steps = now.evaluated_images, now.shared_steps
        self.feed: Feed = open_feed(self.source, trial, self.programs.mesh, self.compute, now.seen)
        self.watch = Stopwatch(now.clock)
        self.watch.add("lost_s", self.heartbeat.lost_s(now.clock))
        self.watch.add("compile_s", self.compile_s)
        self.saved_s = self.watch.training_s
        self.train_loss: float | None = None

    def to_its_end(
        self, report: Callable[[Progress], None], should_stop: Callable[[], bool], least_start_step: int
    ) -> Outcome:
        trial = self.trial
        if self.step < least_start_step:
            return self._ended(Status.KILLED)
        points = [point for point in curve_steps(trial.steps) if point > self.step]
        while self.step < trial.steps:
            to_milestone = self.milestones.step - self.step
            to_stop = points[0] - self.step if to_milestone <= 0 else min(points[0] - self.step, to_milestone)
            loss_sum = self._advance(min(STEPS_PER_DISPATCH, to_stop))
            if not math.isfinite(loss_sum):
                return self._ended(Status.DIVERGED)
            if self.step == points[0]:
                self.train_loss = loss_sum / (self.step - self.loss_step)
                if self.step < trial.steps:
                    report(self._progress(self._score_on_the_way()))
                self.state, self.loss_step = dataclasses.replace(self.state, loss_sum=self._zero()), self.step
                points.pop(0)
            if self.step == self.milestones.step:
                self._leave_milestone()
            if self.step < trial.steps and any_host_says(should_stop()):
                self._save()
                return self._ended(Status.KILLED)
            late_s = self.watch.training_s - self.saved_s
            if self.step < trial.steps and leader_says(late_s >= self.compute.checkpoint_every_s):
                self._save()
            self.heartbeat.beat(self.watch.clock)
        return self._finish(report)

    def _advance(self, count: int) -> float:
        """Trains `count` more steps; returns the sum of losses since the last reported point."""
        started = time.perf_counter()
        self.state, waited = take_steps(
            self.programs.advance, self.state, self.feed, self.horizon, first=self.step, count=count
        )
        loss_sum = float(self.state.loss_sum)  # waits for the devices
        self.watch.add("input_wait_s", waited)
        self.watch.add("step_s", time.perf_counter() - started - waited)
        self.step += count
        return loss_sum

    def _zero(self) -> jax.Array:
        return place(np.float32(0.0), self.programs.state_sharding.loss_sum)

    def _score_on_the_way(self) -> float | None:
        """Returns the held-out loss where enough was trained since it was last measured."""
        images = self.step * self.trial.batch_images
        if not is_scored(self.trial, images, self.evaluated_images):
            return None
        self.evaluated_images = images
        return self._score(HELD_OUT).loss

    def _score(self, part: int) -> HeldOutScore:
        with self.watch.on("evaluation_s"):
            return score(self.programs, self.source, self.state, self.trial.data, part)

    def _now(self) -> Resumable:
        return Resumable(
            self.state,
            self.step,
            self.watch.clock,
            self.loss_step,
            self.evaluated_images,
            self.feed.seen(),
            self.shared_steps,
        )

    def _save(self) -> None:
        with self.watch.on("checkpoint_s"):
            self.milestones.publish()  # first: whoever goes on from behind it would not leave it any more
            self.folder.save(self._now())
        self.saved_s = self.watch.training_s

    def _leave_milestone(self) -> None:
        with self.watch.on("checkpoint_s"):
            self.milestones.leave(self._now())

    def _finish(self, report: Callable[[Progress], None]) -> Outcome:
        held_out = self._score(HELD_OUT)
        selection = self._score(SELECTION) if self.trial.data.selection_images else held_out
        if self.train_loss is None or not (math.isfinite(held_out.loss) and math.isfinite(selection.loss)):
            return self._ended(Status.DIVERGED)
        report(self._progress(held_out.loss))
        with self.watch.on("checkpoint_s"):
            keep_weights(self.state, self.weights_dir, self.trial.id, self.budget)
        return dataclasses.replace(
            self._ended(Status.FINISHED),
            val_loss=held_out.loss,
            val_error=held_out.error,
            selection_loss=selection.loss,
            train_loss=self.train_loss,
        )

    def _progress(self, val_loss: float | None) -> Progress:
        assert self.train_loss is not None
        return Progress(
            step=self.step,
            images=self.step * self.trial.batch_images,
            train_loss=self.train_loss,
            val_loss=val_loss,
            wall_s=self.watch.training_s,
            shared_steps=self.shared_steps,
        )

    def _ended(self, status: Status) -> Outcome:
        """Returns the outcome without losses."""
        with self.watch.on("checkpoint_s"):
            self.milestones.publish()
        seen = self.feed.seen()
        return Outcome(
            status=status,
            steps=self.step,
            val_loss=None,
            selection_loss=None,
            train_loss=None,
            wall_s=self.watch.training_s,
            compile_s=self.compile_s,
            clock=self.watch.clock,
            certificate=seen.certificate,
            corrupt_images=seen.corrupt_images,
            cores=self.programs.mesh.size,
            peak_memory_bytes=peak_memory_bytes(),
            shared_steps=self.shared_steps,
        )


def prepare_data(data: DataSpec, data_dir: Path) -> None:
    """Reads and verifies the files that `data` needs; raises StudyError that says what to do when it cannot."""
    open_source(data, data_dir)


def _disk_budget(compute: ComputeSpec, *folders: Path | None) -> DiskBudget:
    limit = None if compute.disk_budget_gb is None else 1e9 * compute.disk_budget_gb
    return DiskBudget(limit, tuple(folder for folder in folders if folder is not None))
