"""How much faster the matmul path trains than XLA's own convolutions on one CPU core, at the same losses.

Both paths run in one process, turn by turn, so that what else the machine does touches both alike.
"""

import os
import statistics
import sys
import time
from pathlib import Path

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

import jax
import jax.numpy as jnp
from result_file import Figure, write_result

from launcher.settings.compose import compose
from sweeps.study import Model, Study
from training.data import open_source
from training.feed import STEPS_PER_DISPATCH
from training.source import Source
from training.step import Horizon, Programs, TrainState, make_programs

TURNS = 5


def main() -> None:
    """Measures the smallest and the largest scale model and writes the ratios."""
    study = compose(["budget=10k"]).study
    figures: list[Figure] = []
    for model in (study.models[0], study.models[-1]):
        seconds, losses = _interleaved(study, model)
        ratio = statistics.median(seconds["xla"]) / statistics.median(seconds["im2col"])
        gap = abs(losses["xla"] / losses["im2col"] - 1)
        print(f"{model.name}: im2col trains {ratio:.1f} times as fast as xla; losses differ by {gap:.1e}")
        figures.append(Figure(name=f"{model.name}_speedup", value=ratio, bar=None, unit="x"))
        figures.append(Figure(name=f"{model.name}_relative_loss_gap", value=gap, bar=None, unit="relative"))
    write_result("conv_paths", figures, command="make bench NAME=conv_paths")


def _interleaved(study: Study, model: Model) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Returns seconds per dispatch, and the mean loss of the first dispatch, of each path."""
    source = open_source(study.data, Path())
    assert isinstance(source, Source)  # scale models draw their images inside the step
    programs: dict[str, Programs] = {
        path: make_programs(model.shape, study.data, study.recipe, study.schedule, source, path=path)
        for path in ("xla", "im2col")
    }
    states: dict[str, TrainState] = {path: programs[path].start(0) for path in programs}
    seconds: dict[str, list[float]] = {path: [] for path in programs}
    losses: dict[str, float] = {}
    batch = study.batch_images[0]
    horizon = Horizon(
        peak_lr=jnp.float32(study.peak_lrs[0]),
        steps=jnp.int32(1000),
        warmup_steps=jnp.float32(20),
        stream=jnp.uint32(0),
    )
    for turn in range(TURNS + 1):  # the first turn compiles
        indices = jnp.asarray(source.order(0, turn * STEPS_PER_DISPATCH * batch, STEPS_PER_DISPATCH * batch))
        for path, program in programs.items():
            started = time.perf_counter()
            states[path] = program.advance(
                states[path], source.arrays, horizon, indices.reshape(-1, 1, batch), jnp.int32(STEPS_PER_DISPATCH)
            )
            jax.block_until_ready(states[path])
            if turn == 0:  # later the smallest rounding has grown: training is chaotic
                losses[path] = float(states[path].loss_sum) / STEPS_PER_DISPATCH
            else:
                seconds[path].append(time.perf_counter() - started)
    return seconds, losses


if __name__ == "__main__":
    sys.exit(main())
