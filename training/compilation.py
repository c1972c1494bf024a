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
from training.mesh import along, check_batch, make_mesh, my_rows, place, place_rows, whole
from training.pack_step import PackGrid, PackPrograms, make_pack_programs, pack_horizon, stacked
from training.source import AnySource, Source
from training.step import Horizon, Programs, make_programs

_NOTHING = Horizon(peak_lr=np.float32(0.0), steps=np.int32(1), warmup_steps=np.float32(0.0), stream=np.uint32(0))
"""Of a trial that is no trial: programs are compiled by running them over nothing."""


def programs_of(trial: Trial, data_dir: Path, compute: ComputeSpec) -> Programs:
    """Returns the programs of a trial's model size, compiled.

    Raises:
        StudyError: the data is missing or broken, or the batch does not fit the devices.
    """
    return compiled(trial.of_program, data_dir, compute_of_program(compute))


def pack_programs_of(
    trial: Trial, grid: PackGrid, mode: str, data_dir: Path, compute: ComputeSpec
) -> tuple[Programs, PackPrograms]:
    """Returns the programs of a pack of such trials, compiled, and those of one of them, which may not be."""
    words = trial.of_program, data_dir, compute_of_program(compute)
    return traced(*words), _compiled_pack(grid, mode, *words)


def compute_of_program(compute: ComputeSpec) -> ComputeSpec:
    """Returns the settings that a program depends on: not how often it is saved, nor what is trained beside it."""
    return dataclasses.replace(
        compute,
        checkpoint_every_s=ComputeSpec.checkpoint_every_s,
        disk_budget_gb=ComputeSpec.disk_budget_gb,
        packing=ComputeSpec.packing,
    )


@functools.cache
def compiled(trial: Trial, data_dir: Path, compute: ComputeSpec) -> Programs:
    """Returns the programs, compiled on the first call of a process with these arguments."""
    programs = traced(trial, data_dir, compute)
    _run_once(programs, open_source(trial.data, data_dir), trial.data, trial.batch_images)
    return programs


@functools.cache
def traced(trial: Trial, data_dir: Path, compute: ComputeSpec) -> Programs:
    """Returns the programs, each of which is compiled when it first runs."""
    mesh = make_mesh()
    check_batch(trial.batch_images, mesh, compute)
    source = open_source(trial.data, data_dir)
    return make_programs(trial.shape, trial.data, trial.recipe, trial.schedule, source, compute=compute, mesh=mesh)


@functools.cache
def _compiled_pack(grid: PackGrid, mode: str, trial: Trial, data_dir: Path, compute: ComputeSpec) -> PackPrograms:
    programs = traced(trial, data_dir, compute)
    pack = make_pack_programs(programs, grid, mode)
    source = open_source(trial.data, data_dir)
    assert isinstance(source, Source)
    arrays, start = placed_arrays(source, programs.mesh), programs.start(np.int32(0))
    shape = grid.seeds, STEPS_PER_DISPATCH, compute.microbatches, trial.batch_images // compute.microbatches
    nothing = pack_horizon([_NOTHING] * grid.members, grid)
    state = stacked([start] * grid.members, grid, programs.mesh)
    indices = place(np.zeros(shape, np.uint32), whole(programs.mesh))
    state = pack.advance(state, arrays, nothing, indices, np.int32(0))
    jax.block_until_ready(pack.evaluate(state.evaluated, arrays, _NOTHING.stream, np.int32(0)))
    return pack


def _run_once(programs: Programs, source: AnySource, data: DataSpec, batch_images: int) -> None:
    """Runs every program once: a drawn source over no step and no image, a fed one over images that count nothing."""
    mesh, parts = programs.mesh, programs.compute.microbatches
    steps = STEPS_PER_DISPATCH if isinstance(source, Source) else 1
    indices = place(np.zeros((steps, parts, batch_images // parts), np.uint32), along(mesh, 2))
    start = programs.start(np.int32(0))
    if isinstance(source, Source):
        arrays = placed_arrays(source, mesh)
        state = programs.advance(start, arrays, _NOTHING, indices, np.int32(0))
        done = programs.evaluate(state.evaluated, arrays, _NOTHING.stream, np.int32(0))
    else:
        arrays = place_rows(_no_images(batch_images, data.image_px, data.channels, (parts, -1)), along(mesh, 1))
        state = programs.advance(start, arrays, _NOTHING, indices, np.int32(1))
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
