"""The score on held-out images: loss and top-1 error, without smoothing or augmentation."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jax.sharding import Mesh

from sweeps.trial import DataSpec
from training import mesh as meshes
from training.feed import placed_arrays
from training.source import EVALUATION_BATCH_IMAGES, HELD_OUT, AnySource, FedSource
from training.step import HeldOut, Programs, TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutScore:
    """Means over the images of one held-out set that could be read."""

    loss: float
    """[nats]; not a number where no image could be read."""
    error: float
    """Part of the images whose most probable class is another than that of their target."""


def score(programs: Programs, source: AnySource, state: TrainState, data: DataSpec, part: int) -> HeldOutScore:
    """Returns the score on HELD_OUT or SELECTION."""
    loss = errors = images = 0.0
    for sums in _sums(programs, source, state, data, part):
        loss, errors, images = loss + float(sums.loss), errors + float(sums.errors), images + float(sums.images)
    if not images:
        return HeldOutScore(loss=float("nan"), error=float("nan"))
    return HeldOutScore(loss=loss / images, error=errors / images)


def evaluation_batch(mesh: Mesh) -> int:
    """Returns the images of a fed evaluation batch: at least EVALUATION_BATCH_IMAGES, evenly over the devices."""
    return -(-EVALUATION_BATCH_IMAGES // mesh.size) * mesh.size


def batches_of(data: DataSpec, part: int) -> np.int32:
    """Returns the batches of a held-out set of a drawn source."""
    images = data.held_out_images if part == HELD_OUT else data.selection_images
    return np.int32(images // EVALUATION_BATCH_IMAGES)


def _sums(programs: Programs, source: AnySource, state: TrainState, data: DataSpec, part: int) -> Iterator[HeldOut]:
    mesh = programs.mesh
    if not isinstance(source, FedSource):
        yield programs.evaluate(state.evaluated, placed_arrays(source, mesh), np.uint32(part), batches_of(data, part))
        return
    batch_images = evaluation_batch(mesh)
    batches = source.stream.held_out(
        part="held_out" if part == HELD_OUT else "selection",
        batch_images=batch_images,
        rows=meshes.my_rows(batch_images),
    )
    for batch in batches:
        rows = (batch.images, batch.labels, batch.is_good)
        yield programs.evaluate_rows(state.evaluated, meshes.place_rows(rows, meshes.along(mesh, 0)))
