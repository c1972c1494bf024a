"""Training one trial: a pure function of the trial, resumed exactly after a kill, reporting through a callback."""

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from training.agreement import any_host_says, leader_says
from training.checkpoint import CheckpointFolder, Resumable
from training.data import open_source
from training.optimiser import warmup_steps
from training.source import EVALUATION_BATCH_IMAGES, HELD_OUT, SELECTION, Source
from training.step import STEPS_PER_DISPATCH, Horizon, Programs, TrainState, make_programs

CHECKPOINT_EVERY_S = 20.0
"""Training time between checkpoints: a kill loses at most this much."""
POINTS_PER_DOUBLING = 2
"""Points of a curve per doubling of steps."""
EVALUATE_EVERY_HELD_OUT = 12
"""The held-out loss is measured on the way once this many times the held-out set was trained on (some 3 % of time)."""


def train(
    trial: Trial,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None,
    report: Callable[[Progress], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Returns how the trial ended; a loss that is not finite ends it as diverged.

    The losses depend on the trial alone: a run that was killed and resumed from `checkpoint_dir` gives the same
    numbers, from the same samples in the same order, as one that was not. Compiled programs stay in the process.

    Args:
        data_dir: where image files lie.
        checkpoint_dir: where checkpoints are kept; whoever records the outcome removes it. None: nowhere.
        report: called at log-spaced steps, in order; steps before the checkpoint that a run resumes from are not
            reported again.
        should_stop: asked after every dispatch; once it says yes, in any of the processes that train together, the
            state is saved and the run ends as killed, at the same step in all of them.

    Raises:
        StudyError: the trial's data is missing or broken.
    """
    # ---- programs and data -------------------------------------------------------------------------------------
    source = open_source(trial.data, data_dir)
    started = time.perf_counter()
    programs = _programs(trial.shape, trial.data, trial.recipe, trial.schedule, trial.batch_images, data_dir)
    compile_s = time.perf_counter() - started
    folder = CheckpointFolder(checkpoint_dir)
    horizon = Horizon(
        peak_lr=jnp.float32(trial.peak_lr),
        steps=jnp.int32(trial.steps),
        warmup_steps=jnp.float32(warmup_steps(trial.schedule, trial.steps)),
        stream=jnp.uint32(trial.seed),
    )

    # ---- where to start ----------------------------------------------------------------------------------------
    fresh = programs.start(trial.seed)
    now = folder.load(like=fresh) or Resumable(fresh)
    state, step, wall_s, loss_step, evaluated = now.state, now.step, now.wall_s, now.loss_step, now.evaluated_images
    train_loss: float | None = None
    saved_s = wall_s
    points = [point for point in curve_steps(trial.steps) if point > step]

    # ---- the run -----------------------------------------------------------------------------------------------
    while step < trial.steps:
        started = time.perf_counter()
        count = min(STEPS_PER_DISPATCH, points[0] - step)
        state = programs.advance(state, source.arrays, horizon, _indices(source, trial, step), jnp.int32(count))
        loss_sum = float(state.loss_sum)
        step += count
        wall_s += time.perf_counter() - started
        if not math.isfinite(loss_sum):
            return _ended(Status.DIVERGED, step, wall_s=wall_s, compile_s=compile_s)
        if step == points[0]:
            train_loss = loss_sum / (step - loss_step)
            val_loss = None
            images = step * trial.batch_images
            if step < trial.steps and images - evaluated >= EVALUATE_EVERY_HELD_OUT * trial.data.held_out_images:
                val_loss, evaluated = held_out_loss(programs, source, state, trial.data, HELD_OUT), images
            if step < trial.steps:
                report(Progress(step=step, images=images, train_loss=train_loss, val_loss=val_loss, wall_s=wall_s))
            state, loss_step = _restart_mean(state), step
            points.pop(0)
        if step < trial.steps and any_host_says(should_stop()):
            folder.save(Resumable(state, step, wall_s, loss_step, evaluated))
            return _ended(Status.KILLED, step, wall_s=wall_s, compile_s=compile_s)
        if step < trial.steps and leader_says(wall_s - saved_s >= CHECKPOINT_EVERY_S):
            folder.save(Resumable(state, step, wall_s, loss_step, evaluated))
            saved_s = wall_s

    # ---- what came of it ---------------------------------------------------------------------------------------
    val_loss = held_out_loss(programs, source, state, trial.data, HELD_OUT)
    selection_loss = held_out_loss(programs, source, state, trial.data, SELECTION)
    if train_loss is None or not (math.isfinite(val_loss) and math.isfinite(selection_loss)):
        return _ended(Status.DIVERGED, step, wall_s=wall_s, compile_s=compile_s)
    images = step * trial.batch_images
    report(Progress(step=step, images=images, train_loss=train_loss, val_loss=val_loss, wall_s=wall_s))
    return Outcome(
        status=Status.FINISHED,
        steps=step,
        val_loss=val_loss,
        selection_loss=selection_loss,
        train_loss=train_loss,
        wall_s=wall_s,
        compile_s=compile_s,
    )


def prepare_data(data: DataSpec, data_dir: Path) -> None:
    """Reads and verifies the files that `data` needs; raises StudyError that says what to do when it cannot."""
    open_source(data, data_dir)


def held_out_loss(programs: Programs, source: Source, state: TrainState, data: DataSpec, stream: int) -> float:
    """Returns the mean loss over the held-out images of `stream` [nats], without smoothing or augmentation."""
    images = data.held_out_images if stream == HELD_OUT else data.selection_images
    batches = images // EVALUATION_BATCH_IMAGES
    total = programs.evaluate(state.params, source.arrays, jnp.uint32(stream), jnp.int32(batches))
    return float(total) / (batches * EVALUATION_BATCH_IMAGES)


def curve_steps(steps: int) -> list[int]:
    """Returns the steps at which a run of `steps` steps reports: log-spaced, ending with the last."""
    halvings = math.log2(max(steps, 2))
    spaced = {round(steps * 2 ** (-k / POINTS_PER_DOUBLING)) for k in range(int(POINTS_PER_DOUBLING * halvings))}
    return sorted(step for step in spaced | {steps} if step >= 1)


@functools.cache
def _programs(
    shape: NFNetShape, data: DataSpec, recipe: RecipeSpec, schedule: ScheduleSpec, batch_images: int, data_dir: Path
) -> Programs:
    """Returns the programs of one model size, compiled: every trial of that size runs on the same executables."""
    source = open_source(data, data_dir)
    programs = make_programs(shape, data, recipe, schedule, source)
    nothing = Horizon(peak_lr=jnp.float32(0.0), steps=jnp.int32(1), warmup_steps=jnp.float32(0.0), stream=jnp.uint32(0))
    indices = jnp.zeros((STEPS_PER_DISPATCH, batch_images), jnp.uint32)
    state = programs.advance(programs.start(0), source.arrays, nothing, indices, jnp.int32(0))
    jax.block_until_ready(programs.evaluate(state.params, source.arrays, nothing.stream, jnp.int32(0)))
    return programs


def _indices(source: Source, trial: Trial, step: int) -> jax.Array:
    first, batch = step * trial.batch_images, trial.batch_images
    return jnp.asarray(source.order(trial.seed, first, STEPS_PER_DISPATCH * batch).reshape(-1, batch))


def _restart_mean(state: TrainState) -> TrainState:
    return TrainState(state.params, state.optimiser, state.step, jnp.float32(0.0))


def _ended(status: Status, step: int, *, wall_s: float, compile_s: float) -> Outcome:
    """Returns the outcome of a run that has no loss to show."""
    return Outcome(
        status=status,
        steps=step,
        val_loss=None,
        selection_loss=None,
        train_loss=None,
        wall_s=wall_s,
        compile_s=compile_s,
    )
