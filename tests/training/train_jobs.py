"""Trains trials one after the other on the devices it is started with, alone or as one of several processes.

`train_jobs.py JOBS RESULTS [RANK COUNT RENDEZVOUS]`: JOBS is a JSON list; RESULTS gets what became of each.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from launcher.work.hosts import meet, part
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Progress
from sweeps.trial import Trial
from sweeps.vit_shape import ViTShape
from tests.training.small_nets import PARTS, TRIAL, changed
from training import compilation, loop, mesh
from training.checkpoint import digest

NFNET = NFNetShape(stage_depths=(1,), stage_widths=(16,), stage_strides=(1,), stem_widths=(8,), stem_strides=(2,))
VIT = ViTShape(patch_px=4, width=16, depth=2, heads=2, mlp_width=32)
DATA = changed(PARTS, image_px=8)
TRIALS: dict[str, Trial] = {
    "nfnet": changed(TRIAL, shape=NFNET, data=DATA, batch_images=16),
    "vit": changed(TRIAL, family="vit", shape=VIT, data=DATA, batch_images=16),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One trial and how it is computed."""

    name: str
    net: str
    sharding: str = "data"
    microbatches: int = 1
    folder: str | None = None
    """Of its checkpoints."""
    stop_at_step: int | None = None
    """Of the curve, after which it is asked to stop."""
    stop_rank: int = 0
    """The process that is asked."""
    batch_images: int = 16


def train(job: Job) -> dict[str, Any]:
    """Returns what became of the trial, as JSON has it."""
    points: list[Progress] = []
    trial = changed(TRIALS[job.net], batch_images=job.batch_images)

    def should_stop() -> bool:
        is_asked = job.stop_at_step is not None and jax.process_index() == job.stop_rank
        return is_asked and bool(points) and points[-1].step >= job.stop_at_step

    compute = ComputeSpec(sharding=job.sharding, microbatches=job.microbatches)
    try:
        outcome = loop.train(
            trial,
            data_dir=Path(),
            checkpoint_dir=None if job.folder is None else Path(job.folder),
            report=points.append,
            should_stop=should_stop,
            compute=compute,
        )
    except StudyError as error:
        return {"error": str(error)}
    return {
        "status": outcome.status,
        "steps": outcome.steps,
        "losses": [outcome.val_loss, outcome.selection_loss, outcome.train_loss],
        "curve": {point.step: point.train_loss for point in points},
        "certificate": [dataclasses.asdict(item) for item in outcome.certificate],
        "cores": outcome.cores,
        **_spread(trial, compute),
    }


def _spread(trial: Trial, compute: ComputeSpec) -> dict[str, Any]:
    """Returns which part of the state one device holds, and the digest of a fresh state."""
    programs = compilation.programs_of(trial, Path(), compute)
    state = programs.start(np.int32(0))
    leaves = jax.tree.leaves((state.params, state.optimiser))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return {"held": held / sum(leaf.nbytes for leaf in leaves), "digest": np.asarray(digest(state)).tolist()}


def main(jobs: str, results: str, rank: str = "0", count: str = "1", rendezvous: str = "") -> None:
    """Runs all jobs; every process writes what it has seen."""
    mesh.SMALLEST_SPREAD = 64  # so that small nets are spread like large ones
    hosts = meet(int(rank), int(count), Path(rendezvous))
    wanted = [Job(**job) for job in json.loads(Path(jobs).read_text())]
    Path(results).write_text(json.dumps({job.name: train(job) for job in wanted}))
    part(hosts)


if __name__ == "__main__":
    main(*sys.argv[1:])
