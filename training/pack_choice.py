"""How the trials of a pack are best trained on this device: as a person says, or as was measured here."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax

from sweeps.canonical import short_hash
from sweeps.compute import ComputeSpec
from sweeps.trial import Trial
from training import pack_times
from training.compilation import compute_of_program, programs_of
from training.data import open_source
from training.pack_step import PackGrid, arranged
from training.pack_times import SEPARATE, STEPS_A_ROUND, PackTimes
from training.source import Source

COMPILATION_S = 10.0
"""What a compilation is taken to cost at least: one that came from the cache says nothing of the next [s]."""
WORTH_COMPILATIONS = 8.0
"""A pack is worth measuring, which takes two more compilations, from so many times the time of one on."""
_known: dict[str, PackTimes] = {}


def pack_mode(trials: Sequence[Trial], *, data_dir: Path, compute: ComputeSpec) -> str:
    """Returns how these trials are best trained on this device: separate, scan or vmap.

    compute.packing says it, unless it is auto. Then what was measured here before counts, in this process or in the
    folder of the compile cache. Where nothing was, it is measured if the steps of the pack, done separately, would take
    WORTH_COMPILATIONS times as long as compiling the program did, or longer; else separate. So the short runs of a
    laptop do not pay for two more compilations of ten seconds each.

    Trials that cannot be packed are trained separately, whatever compute.packing says.
    """
    if compute.packing == SEPARATE or not can_pack(trials, data_dir):
        return SEPARATE
    if compute.packing != "auto":
        return compute.packing
    order, grid = arranged(trials)
    in_order = [trials[place] for place in order]
    key = _key(trials[0], grid, compute)
    if key not in _known:
        found = pack_times.kept(key)
        if found is None:
            if not _is_worth_measuring(in_order, data_dir, compute):
                return SEPARATE
            found = pack_times.measure(in_order, grid, data_dir, compute)
            pack_times.keep(key, found)
        _known[key] = found
    return _known[key].fastest


def can_pack(trials: Sequence[Trial], data_dir: Path) -> bool:
    """Returns whether the trials can be trained in step: one program, one number of steps, images drawn inside it.

    And on one device: a trial that is spread over several has them for itself. Images that come from the hosts are not
    packed: each member would need a loader of its own, at once.
    """
    if len(trials) < 2 or len({(trial.of_program, trial.steps) for trial in trials}) > 1:
        return False
    return jax.device_count() == 1 and isinstance(open_source(trials[0].data, data_dir), Source)


def _is_worth_measuring(trials: Sequence[Trial], data_dir: Path, compute: ComputeSpec) -> bool:
    started = time.perf_counter()
    programs_of(trials[0], data_dir, compute)
    compilation_s = max(COMPILATION_S, time.perf_counter() - started)
    one_round = pack_times.separately(trials, data_dir, compute)
    one_round()  # the first one is not warm
    return one_round() / STEPS_A_ROUND * trials[0].steps >= WORTH_COMPILATIONS * compilation_s


def _key(trial: Trial, grid: PackGrid, compute: ComputeSpec) -> str:
    """Returns the name of a measurement: another device, program, pack or version of JAX has another."""
    device = jax.devices()[0].device_kind
    return short_hash((device, jax.__version__, trial.of_program, compute_of_program(compute), grid))
