"""Compiled programs stay in the process: every trial of a model size runs on the same executables."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sweeps.compute import ComputeSpec
from sweeps.trial import DataSpec, Trial
from training.data import open_source
from training.evaluation import evaluation_batch
from training.feed import STEPS_PER_DISPATCH, placed_arrays
from training.mesh import along, check_batch, make_mesh, my_rows, place, place_rows
from training.source import AnySource, Source
from training.step import Horizon, Programs, make_programs


def programs_of(trial: Trial, data_dir: Path, compute: ComputeSpec) -> Programs:
    """Returns the programs of a trial's model size, compiled.

    Raises:
        StudyError: the data is missing or broken, or the batch does not fit the devices.
    """
    # How often it is saved is no matter of the program.
    of_program = dataclasses.replace(
        compute, checkpoint_every_s=ComputeSpec.checkpoint_every_s, disk_budget_gb=ComputeSpec.disk_budget_gb
    )
    return compiled(trial.of_program, data_dir, of_program)


@functools.cache
def compiled(trial: Trial, data_dir: Path, compute: ComputeSpec) -> Programs:
    """Returns the programs, compiled on the first call of a process with these arguments."""
    source = open_source(trial.data, data_dir)
    mesh = make_mesh()
    check_batch(trial.batch_images, mesh, compute)
    programs = make_programs(trial.shape, trial.data, trial.recipe, trial.schedule, source, compute=compute, mesh=mesh)
    _run_once(programs, source, trial.data, trial.batch_images)
    return programs


def _run_once(programs: Programs, source: AnySource, data: DataSpec, batch_images: int) -> None:
    """Runs every program once: a drawn source over no step and no image, a fed one over images that count nothing."""
    mesh, parts = programs.mesh, programs.compute.microbatches
    nothing = Horizon(peak_lr=np.float32(0.0), steps=np.int32(1), warmup_steps=np.float32(0.0), stream=np.uint32(0))
    steps = STEPS_PER_DISPATCH if isinstance(source, Source) else 1
    indices = place(np.zeros((steps, parts, batch_images // parts), np.uint32), along(mesh, 2))
    start = programs.start(np.int32(0))
    if isinstance(source, Source):
        arrays = placed_arrays(source, mesh)
        state = programs.advance(start, arrays, nothing, indices, np.int32(0))
        done = programs.evaluate(state.evaluated, arrays, nothing.stream, np.int32(0))
    else:
        arrays = place_rows(_no_images(batch_images, data.image_px, data.channels, (parts, -1)), along(mesh, 1))
        state = programs.advance(start, arrays, nothing, indices, np.int32(1))
        px = data.evaluation_px or data.image_px
        arrays = place_rows(_no_images(evaluation_batch(mesh), px, data.channels, (-1,)), along(mesh, 0))
        done = programs.evaluate_rows(state.evaluated, arrays)
    jax.block_until_ready(done)


def _no_images(batch_images: int, px: int, channels: int, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Returns this process's rows of a batch none of whose images could be read."""
    mine = my_rows(batch_images)
    rows = mine.stop - mine.start
    images = np.zeros((rows, px, px, channels), np.uint8)
    labels, is_good = np.zeros(rows, np.int32), np.zeros(rows, np.bool_)
    return images.reshape(*shape, px, px, channels), labels.reshape(shape), is_good.reshape(shape)
