"""Opens the data set that a trial names."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.errors import StudyError
from sweeps.trial import DataSpec
from training import parts
from training.real_images import open_real
from training.source import EVALUATION_BATCH_IMAGES, Batch, Source


@functools.cache
def open_source(data: DataSpec, data_dir: Path) -> Source:
    """Returns the source of `data`; files are read and verified once in a process.

    Raises:
        StudyError: files are missing or broken, or no reader of that name exists.
    """
    if min(data.held_out_images, data.selection_images) <= 0 or (
        data.held_out_images % EVALUATION_BATCH_IMAGES or data.selection_images % EVALUATION_BATCH_IMAGES
    ):
        raise StudyError(
            f"held_out_images={data.held_out_images} and selection_images={data.selection_images} must be multiples of "
            f"{EVALUATION_BATCH_IMAGES} above zero (try: data.held_out_images={20 * EVALUATION_BATCH_IMAGES})"
        )
    if data.name == "parts":
        return _procedural(data)
    if data.name in ("fashion_mnist", "cifar10"):
        return open_real(data, data_dir)
    raise StudyError(
        f"data set {data.name!r} cannot be read here; parts, fashion_mnist and cifar10 can (try: STUDY=scale_model)"
    )


def _procedural(data: DataSpec) -> Source:
    def draw(world: parts.World, indices: jax.Array, stream: jax.Array) -> Batch:
        images, log_targets = parts.draw(world, indices, stream, image_px=data.image_px)
        return images, jnp.exp(log_targets)

    def order(seed: int, first: int, count: int) -> np.ndarray:
        # Endless: every place of the stream is a fresh image.
        return np.arange(first, first + count, dtype=np.uint32)

    return Source(arrays=parts.make_world(data), draw=draw, draw_held_out=draw, order=order)
