"""Opens the data set that a trial names."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.errors import StudyError
from sweeps.trial import DataSpec
from training.images import parts
from training.images.real_images import READERS, open_real
from training.source import EVALUATION_BATCH_IMAGES, AnySource, Batch, FedSource, Source

_MEAN = 255.0 * np.asarray((0.485, 0.456, 0.406), np.float32)
_DEVIATION = 255.0 * np.asarray((0.229, 0.224, 0.225), np.float32)
"""Of ImageNet's channels, as its own models are fed."""


@functools.cache
def open_source(data: DataSpec, data_dir: Path) -> AnySource:
    """Returns the source of `data`; files are read and verified once in a process.

    `parts` is procedural, small sets are held in memory, and any other name is a folder of image shards below data_dir.

    Raises:
        StudyError: files are missing or broken, or the numbers of held-out images do not fit.
    """
    if data.name == "parts" or data.name in READERS:
        _check_held_out(data)
        return _procedural(data) if data.name == "parts" else open_real(data, data_dir)
    from training.streams.image_stream import open_stream  # loads grain

    return fed_source(open_stream(data, data_dir / data.name), data)


def fed_source(stream: Any, data: DataSpec) -> FedSource:
    """Returns a stream of decoded images as the compiled step wants it: normalised, with one-hot targets."""
    mean, deviation = (values if data.channels == 3 else values.mean() for values in (_MEAN, _DEVIATION))

    def draw(arrays: Any, indices: jax.Array, of_stream: jax.Array) -> Batch:
        images, labels, is_good = arrays
        targets = jax.nn.one_hot(labels, data.classes) * is_good[:, None]
        return (images.astype(jnp.float32) - mean) / deviation, targets

    def pixel_range(arrays: Any) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray((0.0 - mean) / deviation), jnp.asarray((255.0 - mean) / deviation)

    return FedSource(stream=stream, draw=draw, pixel_range=pixel_range)


def _check_held_out(data: DataSpec) -> None:
    if min(data.held_out_images, data.selection_images) <= 0 or (
        data.held_out_images % EVALUATION_BATCH_IMAGES or data.selection_images % EVALUATION_BATCH_IMAGES
    ):
        raise StudyError(
            f"held_out_images={data.held_out_images} and selection_images={data.selection_images} must be multiples of "
            f"{EVALUATION_BATCH_IMAGES} above zero (try: data.held_out_images={20 * EVALUATION_BATCH_IMAGES})"
        )


def _procedural(data: DataSpec) -> Source:
    def draw(world: parts.World, indices: jax.Array, stream: jax.Array) -> Batch:
        images, log_targets = parts.draw(world, indices, stream, image_px=data.image_px)
        return images, jnp.exp(log_targets)

    def order(seed: int, first: int, count: int) -> np.ndarray:
        # Endless: every place of the stream is a fresh image.
        return np.arange(first, first + count, dtype=np.uint32)

    return Source(arrays=parts.make_world(data), draw=draw, draw_held_out=draw, order=order)
