"""Measures how fast a model trains on the devices of this process: the trainer's own step, and nothing else."""

import dataclasses
import importlib.metadata
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sweeps.calibration import Calibration, CalibrationTask
from sweeps.errors import StudyError
from sweeps.pricing import flops_per_image, gradients_a_step
from sweeps.trial import DataSpec, Trial
from training.data import fed_source, open_source
from training.device_peaks import device_peak, peak_memory_bytes
from training.feed import STEPS_PER_DISPATCH, Feed, Seen, open_feed
from training.mesh import make_mesh
from training.pod.matrix_flops import matrix_flops
from training.source import AnySource, FedSource, Source
from training.step import Horizon, TrainState, horizon_of, make_programs
from training.steps import take_steps
from training.streams.host_batch import HostBatch


def calibrate(task: CalibrationTask, *, data_dir: Path, say: Callable[[str], None] = lambda stage: None) -> Calibration:
    """Returns what was measured; images that cannot be read here are made up, of the same size.

    Args:
        task: the trial whose step is measured, and how long.
        data_dir: where image files lie.
        say: told what begins now: compiling, warming up, turn 1 ...

    Raises:
        StudyError: the batch does not fit the devices.
    """
    trial, mesh = task.trial, make_mesh()
    source, images = _source(trial.data, data_dir)
    programs = make_programs(
        trial.shape, trial.data, trial.recipe, trial.schedule, source, compute=task.compute, mesh=mesh
    )
    feed = open_feed(source, trial, mesh, task.compute, Seen())
    say("compiling")
    first = next(feed.dispatches(0, 1))
    state = programs.start(np.int32(trial.seed))
    started = time.perf_counter()
    traced: Any = programs.advance.trace(state, first.arrays, _at_rest(trial), first.indices, np.int32(1))  # type: ignore[attr-defined]
    step = traced.lower().compile()
    compile_s = time.perf_counter() - started
    measured = _Steps(step, state, feed, trial)
    say("warming up")
    measured.run(2)
    warm_s = measured.run(2) / 2
    steps = max(math.ceil(task.steps / task.turns), math.ceil(task.shortest_turn_s / max(warm_s, 1e-6)))
    turns: list[float] = []
    for turn in range(task.turns):
        say(f"turn {turn + 1} of {task.turns}")
        turns.append(steps * trial.batch_images / measured.run(steps) / mesh.size)
    peak = device_peak(list(mesh.devices.flat), trial.recipe.compute_dtype)
    return Calibration(
        model=trial.model,
        family=trial.family,
        image_px=trial.data.image_px,
        device=str(mesh.devices.flat[0].device_kind),
        cores=mesh.size,
        batch_images=trial.batch_images,
        compute=task.compute,
        compute_dtype=trial.recipe.compute_dtype,
        images=images,
        steps=steps * task.turns,
        turns=task.turns,
        gradients=gradients_a_step(trial.recipe),
        images_per_s_per_core=statistics.harmonic_mean(turns),
        relative_spread=statistics.stdev(turns) / statistics.mean(turns) if len(turns) > 1 else 0.0,
        compile_s=compile_s,
        peak_memory_bytes=peak_memory_bytes(),
        compiled_memory_bytes=_compiled_memory_bytes(step),
        model_flops_per_image=_model_flops_per_image(trial),
        traced_flops_per_image=matrix_flops(_one_step(traced.jaxpr, source)) / trial.batch_images,
        compiler_flops_per_step=_compiler_flops(step),
        peak_flops_per_s_per_core=peak.flops_per_s,
        peak_source=peak.source,
        versions=f"jax {jax.__version__}, jaxlib {importlib.metadata.version('jaxlib')}",
    )


class _Steps:
    """A training that goes on and on: its compiled step, its state and its images."""

    def __init__(self, step: Any, state: TrainState, feed: Feed, trial: Trial) -> None:
        self._step, self._state, self._feed = step, state, feed
        self._horizon, self._done = _at_rest(trial), 0

    def run(self, steps: int) -> float:
        """Returns how long these next steps took, from dispatch to the last of their results [s]."""
        started, end = time.perf_counter(), self._done + steps
        while self._done < end:
            count = min(STEPS_PER_DISPATCH, end - self._done)
            self._state, _ = take_steps(
                self._step, self._state, self._feed, self._horizon, first=self._done, count=count
            )
            self._done += count
        float(self._state.loss_sum)  # waits for the devices
        return time.perf_counter() - started


def _at_rest(trial: Trial) -> Horizon:
    """Returns the horizon of the trial at a learning rate of 0, so that nothing that is timed can diverge."""
    return dataclasses.replace(horizon_of(trial), peak_lr=np.float32(0.0))


def _source(data: DataSpec, data_dir: Path) -> tuple[AnySource, str]:
    """Returns the images of a study as the trainer gets them, else made-up ones, and which of the two they are."""
    try:
        source = open_source(data, data_dir)
    except StudyError:
        return fed_source(MadeUpStream(data), data), f"made up, in place of {data.name}: no reading, no decoding"
    return source, f"{data.name}, {'from the host' if isinstance(source, FedSource) else 'drawn inside the step'}"


@dataclasses.dataclass(frozen=True)
class MadeUpStream:
    """Stands for an image set that is not here: noise, the same rows in every batch."""

    data: DataSpec

    def training(
        self, *, seed: int, first_step: int, batch_images: int, rows: slice, multiplicity: int = 1
    ) -> Iterator[HostBatch]:
        """Yields this host's rows of each batch without end, as training.streams.image_stream does."""
        rng = np.random.default_rng(seed)
        mine = np.arange(batch_images, dtype=np.int64)[rows]
        px = self.data.image_px
        pixels = rng.integers(0, 256, (len(mine), px, px, self.data.channels), np.uint8)
        labels = rng.integers(0, self.data.classes, len(mine), np.int32)
        step = first_step
        while True:
            places = step * batch_images + mine
            yield HostBatch(
                images=pixels,
                labels=labels,
                samples=places // multiplicity % self.data.images_per_epoch,
                places=places,
                is_good=np.ones(len(mine), np.bool_),
            )
            step += 1


def _one_step(jaxpr: Any, source: AnySource) -> Any:
    """Returns the program of one step: steps of a drawn source are the body of a loop of any length."""
    if not isinstance(source, Source):
        return jaxpr.jaxpr
    (loop,) = (equation for equation in jaxpr.jaxpr.eqns if equation.primitive.name == "while")
    return loop.params["body_jaxpr"].jaxpr


def _model_flops_per_image(trial: Trial) -> float:
    return gradients_a_step(trial.recipe) * flops_per_image(trial.shape, trial.data)


def _compiled_memory_bytes(step: Any) -> int | None:
    found = step.memory_analysis()
    if found is None:
        return None
    live = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(live + found.temp_size_in_bytes)


def _compiler_flops(step: Any) -> float | None:
    found = step.cost_analysis()
    flops = (found or {}).get("flops")
    return float(flops) if flops is not None and flops > 0 else None
