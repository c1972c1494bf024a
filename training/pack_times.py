"""What a step of a member takes on this device in each way to train a pack: timed, and kept as a small file."""

import contextlib
import dataclasses
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.compute import ComputeSpec
from sweeps.trial import Trial
from training.compilation import pack_programs_of, programs_of
from training.data import open_source
from training.feed import Dispatch, Seen, open_feed
from training.pack_step import SCAN, VMAP, PackGrid, of_all_seeds, pack_horizon, stacked
from training.step import Programs, horizon_of

SEPARATE = "separate"
LEAST_GAIN = 0.03
"""A way that is faster by less than this part is not faster: it is noise."""
ROUNDS, STEPS_A_ROUND = 7, 4
_LOG = logging.getLogger(__name__)

Way = Callable[[], float]
"""Does STEPS_A_ROUND steps of every member and returns what they took [s]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackTimes:
    """What one step of one member takes in each way [s]; missing where the pack does not fit the device."""

    device: str
    model: str
    seeds: int
    rates: int
    separate_s: float
    scan_s: float | None
    vmap_s: float | None

    @property
    def fastest(self) -> str:
        """The way to train the pack."""
        packed = [(self.scan_s, SCAN), (self.vmap_s, VMAP)]
        fitting = [(seconds, mode) for seconds, mode in packed if seconds is not None]
        seconds, mode = min(fitting, default=(self.separate_s, SEPARATE))
        return mode if seconds < (1 - LEAST_GAIN) * self.separate_s else SEPARATE


def measure(trials: Sequence[Trial], grid: PackGrid, data_dir: Path, compute: ComputeSpec) -> PackTimes:
    """Returns the medians of warm rounds, the ways in turns.

    Args:
        trials: in the order of the grid.
        grid: how they lie.
        data_dir: where image files lie.
        compute: how each is computed.
    """
    ways = {SEPARATE: separately(trials, data_dir, compute)}
    for mode in (SCAN, VMAP):
        with _fitting(mode):
            ways[mode] = _together(trials, grid, mode, data_dir, compute)
    taken: dict[str, list[float]] = {mode: [] for mode in ways}
    for _ in range(ROUNDS + 1):
        for mode, way in list(ways.items()):
            with _fitting(mode, ways):
                taken[mode].append(way() / STEPS_A_ROUND / grid.members)
    medians = {mode: statistics.median(taken[mode][1:]) for mode in ways}
    found = PackTimes(
        device=jax.devices()[0].device_kind,
        model=trials[0].model,
        seeds=grid.seeds,
        rates=grid.rates,
        separate_s=medians[SEPARATE],
        scan_s=medians.get(SCAN),
        vmap_s=medians.get(VMAP),
    )
    _LOG.info("a step of a member: %s", found)
    return found


@contextlib.contextmanager
def _fitting(mode: str, ways: dict[str, Way] | None = None) -> Iterator[None]:
    """Drops a packed way that fails: the members together may need more memory than there is."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if mode == SEPARATE:
            raise
        _LOG.warning("this pack cannot be trained by %s: %s", mode, error)
        if ways is not None:
            del ways[mode]


def separately(trials: Sequence[Trial], data_dir: Path, compute: ComputeSpec) -> Way:
    """Returns the way of separate runs, its program compiled."""
    programs = programs_of(trials[0], data_dir, compute)
    states = [programs.start(np.int32(trial.seed)) for trial in trials]
    dispatches = _dispatches(trials, programs, data_dir, compute)

    def go() -> float:
        started = time.perf_counter()
        for number, (trial, dispatch) in enumerate(zip(trials, dispatches, strict=True)):
            words = dispatch.arrays, horizon_of(trial), dispatch.indices, np.int32(STEPS_A_ROUND)
            states[number] = jax.block_until_ready(programs.advance(states[number], *words))
        return time.perf_counter() - started

    return go


def _together(trials: Sequence[Trial], grid: PackGrid, mode: str, data_dir: Path, compute: ComputeSpec) -> Way:
    programs, pack = pack_programs_of(trials[0], grid, mode, data_dir, compute)
    state = stacked([programs.start(np.int32(trial.seed)) for trial in trials], grid, programs.mesh)
    dispatch = of_all_seeds(_dispatches(trials, programs, data_dir, compute), grid, programs.mesh)
    horizon = pack_horizon([horizon_of(trial) for trial in trials], grid)

    def go() -> float:
        nonlocal state
        started = time.perf_counter()
        words = dispatch.arrays, horizon, dispatch.indices, np.int32(STEPS_A_ROUND)
        state = jax.block_until_ready(pack.advance(state, *words))
        return time.perf_counter() - started

    return go


def _dispatches(trials: Sequence[Trial], programs: Programs, data_dir: Path, compute: ComputeSpec) -> list[Dispatch]:
    """Returns the first images of each trial."""
    source = open_source(trials[0].data, data_dir)
    feeds = (open_feed(source, trial, programs.mesh, compute, Seen()) for trial in trials)
    return [next(feed.dispatches(0, STEPS_A_ROUND)) for feed in feeds]


def kept(key: str) -> PackTimes | None:
    """Returns what was measured under this name before; None where nothing was, or the file says nothing."""
    file = _file(key)
    if file is None:
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return from_jsonable(PackTimes, json.loads(file.read_text()))
    return None


def keep(key: str, times: PackTimes) -> None:
    """Writes down what was measured, whole or not at all; a disk that is full only means measuring it again."""
    file = _file(key)
    if file is None:
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(to_jsonable(times), indent=1))
        unfinished.replace(file)


def _file(key: str) -> Path | None:
    """Returns where it is kept: with what was compiled, for which it holds; None without a compile cache."""
    folder: Any = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return None if not folder else Path(folder) / "packing" / f"{key}.json"
