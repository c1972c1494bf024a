"""Real image sets as a source: passes over a pool in a fresh order each epoch, random crop and mirror in training."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.errors import StudyError
from sweeps.trial import DataSpec
from training.images import cifar10, fashion_mnist
from training.images.counter_random import hashed, uniform
from training.images.image_files import shrink
from training.source import SELECTION, Batch, Source

CROP_PAD_PX = 2
"""Training images are shifted by up to this many pixels each way."""
READERS = {"fashion_mnist": fashion_mnist.load, "cifar10": cifar10.load}
"""The sets that are small enough to be held in memory whole."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pool:
    """Images (n, px, px, channels) uint8 and labels (n,) int32, and the pixels' mean and scale."""

    train_images: jax.Array
    train_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array
    mean: jax.Array
    scale: jax.Array


def open_real(data: DataSpec, data_dir: Path) -> Source:
    """Returns the source of a real image set: one epoch is one pass over its first images_per_epoch training images.

    The test images are split in turn: even places are held out for the report, odd ones choose the learning rate.

    Raises:
        StudyError: files are missing or broken, or the set has fewer images than `data` asks for.
    """
    images = READERS[data.name](data_dir)
    _check_counts(data, train=len(images.train_labels), test=len(images.test_labels))
    train = shrink(images.train_images, image_px=data.image_px, channels=data.channels)[: data.images_per_epoch]
    test = shrink(images.test_images, image_px=data.image_px, channels=data.channels)
    pool = Pool(
        train_images=jnp.asarray(train),
        train_labels=jnp.asarray(images.train_labels[: data.images_per_epoch]),
        test_images=jnp.asarray(test),
        test_labels=jnp.asarray(images.test_labels),
        mean=jnp.float32(train.mean()),
        scale=jnp.float32(1.0 / train.std()),
    )

    def draw(pool: Pool, indices: jax.Array, stream: jax.Array) -> Batch:
        image = indices % data.images_per_epoch
        chance = uniform(hashed(indices, stream), 3)
        pixels = _crop_and_mirror(pool.train_images[image], chance)
        return _normalised(pool, pixels), jax.nn.one_hot(pool.train_labels[image], data.classes)

    def draw_held_out(pool: Pool, indices: jax.Array, stream: jax.Array) -> Batch:
        image = 2 * indices + jnp.where(stream == jnp.uint32(SELECTION), jnp.uint32(1), jnp.uint32(0))
        return _normalised(pool, pool.test_images[image]), jax.nn.one_hot(pool.test_labels[image], data.classes)

    return Source(
        arrays=pool,
        draw=draw,
        draw_held_out=draw_held_out,
        order=functools.partial(pass_order, data.images_per_epoch),
        has_copies=True,
        pixel_range=lambda pool: (_normalised(pool, jnp.float32(0)), _normalised(pool, jnp.float32(255))),
    )


def pass_order(pool_images: int, seed: int, first: int, count: int) -> np.ndarray:
    """Returns uint32 indices of places first ... first + count - 1: epoch x pool_images + image.

    Every image comes up exactly once an epoch, in an order that depends on the seed and the epoch alone.
    """
    places = np.arange(first, first + count, dtype=np.int64)
    epochs, within = np.divmod(places, pool_images)
    images = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        images[chosen] = _shuffled(pool_images, seed, int(epoch))[within[chosen]]
    return (epochs * pool_images + images).astype(np.uint32)


@functools.lru_cache(maxsize=4)
def _shuffled(pool_images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(pool_images)


def _crop_and_mirror(images: jax.Array, chance: jax.Array) -> jax.Array:
    """Returns the images (batch, px, px, channels) shifted by up to CROP_PAD_PX and half of them mirrored."""
    px = images.shape[1]
    padded = jnp.pad(images, ((0, 0), (CROP_PAD_PX, CROP_PAD_PX), (CROP_PAD_PX, CROP_PAD_PX), (0, 0)))
    shift = jnp.floor(chance[:, :2] * (2 * CROP_PAD_PX + 1)).astype(jnp.int32)
    rows = shift[:, :1] + jnp.arange(px)
    columns = shift[:, 1:] + jnp.arange(px)
    columns = jnp.where(chance[:, 2:] < 0.5, columns, columns[:, ::-1])
    image = jnp.arange(images.shape[0])[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]]


def _normalised(pool: Pool, pixels: jax.Array) -> jax.Array:
    return (pixels.astype(jnp.float32) - pool.mean) * pool.scale


def _check_counts(data: DataSpec, *, train: int, test: int) -> None:
    halves = 2 * max(data.held_out_images, data.selection_images)
    if data.images_per_epoch > train or halves > test:
        raise StudyError(
            f"{data.name} has {train} training and {test} test images; images_per_epoch={data.images_per_epoch} and "
            f"the larger of held_out_images and selection_images, twice: {halves}, ask for more "
            f"(try: data.images_per_epoch={train})"
        )
