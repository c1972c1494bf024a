"""One attempt at a trial between two dispatches: where it stands, what it reports, what it saves and how it ends.

Whatever moves the state on, alone or in a pack, says so with `moved` and asks `after_dispatch` what follows.
"""

import dataclasses
import math
import time
from collections.abc import Callable

import jax
import numpy as np

from sweeps.compute import ComputeSpec
from sweeps.curve import curve_steps
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import Trial
from training.agreement import any_host_says, leader_says
from training.checkpoint import CheckpointFolder, Resumable
from training.clock import Heartbeat, Stopwatch
from training.curve import is_scored
from training.data import open_source
from training.device_peaks import peak_memory_bytes
from training.evaluation import HeldOutScore, score
from training.feed import STEPS_PER_DISPATCH, Feed, open_feed
from training.mesh import place
from training.milestones import Milestones
from training.run_folders import RunFolders
from training.source import HELD_OUT, SELECTION
from training.step import Programs, TrainState, horizon_of
from training.steps import take_steps
from training.weights import keep_weights, start_from

Report = Callable[[Progress], None]


class Run:
    """One attempt at a trial: what it holds between two dispatches."""

    def __init__(
        self, trial: Trial, programs: Programs, *, folders: RunFolders, compute: ComputeSpec, compile_s: float
    ) -> None:
        """Takes up the trial where its newest checkpoint, or a milestone, left it.

        Args:
            trial: what is trained.
            programs: of its model size.
            folders: where it reads and writes.
            compute: how it is spread over the devices, and how often it is saved.
            compile_s: what its programs took to compile in this attempt [s].
        """
        self.trial, self.programs, self.compute, self.compile_s = trial, programs, compute, compile_s
        self.source = open_source(trial.data, folders.data_dir)
        self._weights_dir, self._budget = folders.weights_dir, folders.disk_budget(compute)
        checkpoint_dir = folders.checkpoint_dir
        self._folder = CheckpointFolder(checkpoint_dir, budget=self._budget)
        self._milestones = Milestones(trial, folders.trunks_dir, checkpoint_dir, budget=self._budget)
        self._heartbeat = Heartbeat(checkpoint_dir)
        self.horizon = horizon_of(trial)
        self.sharing = 1
        """Runs that train together now, this one included: the time by the clock is divided among them."""
        self.score: Callable[[int], HeldOutScore] = self._score_alone
        """HELD_OUT or SELECTION -> the score of the state; counts its time."""
        self._begin()

    def _begin(self) -> None:
        """Takes up the newest checkpoint, a shorter run's milestone or another trial's weights, or begins afresh."""
        trial = self.trial
        self._points = curve_steps(trial.steps)
        fresh = self.programs.start(np.int32(trial.seed))
        now = self._folder.load(like=fresh) or self._milestones.take(like=fresh)
        if now is None:
            state = start_from(fresh, self._weights_dir, trial.trunk_id) if trial.trunk_id else fresh
            now = Resumable(state)
        self._state: TrainState | None = now.state
        self._fetch: Callable[[], TrainState] = lambda: now.state
        self.step, self.loss_step = now.step, now.loss_step
        self._evaluated_images, self._shared_steps = now.evaluated_images, now.shared_steps
        self.feed: Feed = open_feed(self.source, trial, self.programs.mesh, self.compute, now.seen)
        self.watch = Stopwatch(now.clock)
        self.watch.add("lost_s", self._heartbeat.lost_s(now.clock))
        self.watch.add("compile_s", self.compile_s)
        self._saved_s = self.watch.training_s
        self._train_loss: float | None = None

    @property
    def state(self) -> TrainState:
        """The state after the steps done so far."""
        if self._state is None:
            self._state = self._fetch()
        return self._state

    def to_its_end(self, report: Report, should_stop: Callable[[], bool], least_start_step: int) -> Outcome:
        """Returns the outcome of the run, trained by itself; see loop.train."""
        outcome = self.refused_start(least_start_step)
        while outcome is None:
            outcome = self.after_dispatch(self._advance(self.next_count()), report, should_stop)
        return outcome

    def refused_start(self, least_start_step: int) -> Outcome | None:
        """Returns the outcome of a run that would have to begin before that step; None where it need not."""
        return self._ended(Status.KILLED) if self.step < least_start_step else None

    def next_count(self) -> int:
        """Returns the steps of the next dispatch: to the next point of the curve, to the milestone, or fewer."""
        to_stop = self._next_point() - self.step
        if self._milestones.step > self.step:
            to_stop = min(to_stop, self._milestones.step - self.step)
        return min(STEPS_PER_DISPATCH, to_stop)

    def moved(self, count: int, fetch: Callable[[], TrainState], *, step_s: float, input_wait_s: float) -> None:
        """Notes that `count` more steps were done; `fetch` gives the state after them, if asked before the next move.

        Times are those by the clock, of all runs that train together [s].
        """
        self._state, self._fetch = None, fetch
        self.step += count
        self.watch.add("step_s", step_s / self.sharing)
        self.watch.add("input_wait_s", input_wait_s / self.sharing)

    def after_dispatch(self, loss_sum: float, report: Report, should_stop: Callable[[], bool]) -> Outcome | None:
        """Reports, saves and scores what is due; returns the outcome where the run has ended.

        Args:
            loss_sum: sum of the losses since `loss_step` [nats].
            report: called where the step is a point of the curve.
            should_stop: asked unless this was the last step.
        """
        if not math.isfinite(loss_sum):
            return self._ended(Status.DIVERGED)
        is_last = self.step == self.trial.steps
        if self.step == self._next_point():
            self._train_loss = loss_sum / (self.step - self.loss_step)
            if not is_last:
                report(self._progress(self._score_on_the_way()))
            self._state, self.loss_step = dataclasses.replace(self.state, loss_sum=self._zero()), self.step
        if self.step == self._milestones.step:
            self._leave_milestone()
        if is_last:
            return self._finish(report)
        if any_host_says(should_stop()):
            self._save()
            return self._ended(Status.KILLED)
        late_s = self.sharing * (self.watch.training_s - self._saved_s)
        if leader_says(late_s >= self.compute.checkpoint_every_s):
            self._save()
        self._heartbeat.beat(self.watch.clock)
        return None

    def bill_compilation(self, seconds: float) -> None:
        """Counts so much more of compilation."""
        self.compile_s += seconds
        self.watch.add("compile_s", seconds)

    def close(self) -> None:
        """Waits until what was begun to be written is on disk."""
        self._milestones.publish()
        self._folder.close()

    def _next_point(self) -> int:
        """Returns the next point of the curve: the first one behind the last that was reported."""
        return next(point for point in self._points if point > self.loss_step)

    def _advance(self, count: int) -> float:
        """Trains `count` more steps by itself; returns the sum of losses since the last reported point."""
        started = time.perf_counter()
        state, waited = take_steps(
            self.programs.advance, self.state, self.feed, self.horizon, first=self.step, count=count
        )
        loss_sum = float(state.loss_sum)  # waits for the devices
        self.moved(count, lambda: state, step_s=time.perf_counter() - started - waited, input_wait_s=waited)
        return loss_sum

    def _zero(self) -> jax.Array:
        return place(np.float32(0.0), self.programs.state_sharding.loss_sum)

    def _score_on_the_way(self) -> float | None:
        """Returns the held-out loss where enough was trained since it was last measured."""
        images = self.step * self.trial.batch_images
        if not is_scored(self.trial, images, self._evaluated_images):
            return None
        self._evaluated_images = images
        return self.score(HELD_OUT).loss

    def _score_alone(self, part: int) -> HeldOutScore:
        with self.watch.on("evaluation_s"):
            return score(self.programs, self.source, self.state, self.trial.data, part)

    def _now(self) -> Resumable:
        where = self.step, self.watch.clock, self.loss_step, self._evaluated_images
        return Resumable(self.state, *where, self.feed.seen(), self._shared_steps)

    def _save(self) -> None:
        with self.watch.on("checkpoint_s"):
            self._milestones.publish()  # first: whoever goes on from behind it would not leave it any more
            self._folder.save(self._now())
        self._saved_s = self.watch.training_s

    def _leave_milestone(self) -> None:
        with self.watch.on("checkpoint_s"):
            self._milestones.leave(self._now())

    def _finish(self, report: Report) -> Outcome:
        held_out = self.score(HELD_OUT)
        selection = self.score(SELECTION) if self.trial.data.selection_images else held_out
        if self._train_loss is None or not (math.isfinite(held_out.loss) and math.isfinite(selection.loss)):
            return self._ended(Status.DIVERGED)
        report(self._progress(held_out.loss))
        with self.watch.on("checkpoint_s"):
            keep_weights(self.state, self._weights_dir, self.trial.id, self._budget)
        return dataclasses.replace(
            self._ended(Status.FINISHED),
            val_loss=held_out.loss,
            val_error=held_out.error,
            selection_loss=selection.loss,
            train_loss=self._train_loss,
        )

    def _progress(self, val_loss: float | None) -> Progress:
        assert self._train_loss is not None
        return Progress(
            step=self.step,
            images=self.step * self.trial.batch_images,
            train_loss=self._train_loss,
            val_loss=val_loss,
            wall_s=self.watch.training_s,
            shared_steps=self._shared_steps,
        )

    def _ended(self, status: Status) -> Outcome:
        """Returns the outcome without losses."""
        with self.watch.on("checkpoint_s"):
            self._milestones.publish()
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
            shared_steps=self._shared_steps,
        )
