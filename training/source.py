"""Where training images come from: drawn inside the compiled program, or fed to it from the host."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from training.streams.image_stream import ImageStream

EVALUATION_BATCH_IMAGES = 256
"""Held-out images of one batch."""
HELD_OUT, SELECTION = 0xFFFF0001, 0xFFFF0002
"""Stream numbers of the two held-out sets; training streams are the trials' seeds."""

Batch = tuple[jax.Array, jax.Array]
"""Images (batch, px, px, channels) and target probabilities (batch, classes); a row of zeros there is no image."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A data set that is drawn from inside a compiled program."""

    arrays: Any
    """A tree of arrays, alike in every process, handed to every draw."""
    draw: Callable[[Any, jax.Array, jax.Array], Batch]
    """(arrays, uint32 indices, uint32 stream) -> training batch; pure, so that it can live inside the step."""
    draw_held_out: Callable[[Any, jax.Array, jax.Array], Batch]
    """(arrays, uint32 indices, HELD_OUT or SELECTION) -> batch without augmentation."""
    order: Callable[[int, int, int], np.ndarray]
    """(seed, first, count) -> uint32 indices of the training images at places first ... first + count - 1.

    Modulo images_per_epoch they are the numbers of the samples.
    """
    has_copies: bool = False
    """Whether index + k x images_per_epoch is the same sample, augmented otherwise."""
    pixel_range: Callable[[Any], tuple[jax.Array, jax.Array]] | None = None
    """Arrays -> what black and white are in the images drawn; absent where they are no pictures."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedSource:
    """A data set whose images are decoded on the hosts."""

    stream: "ImageStream"
    draw: Callable[[Any, jax.Array, jax.Array], Batch]
    """((uint8 images, labels, is_good), -, -) -> batch."""
    pixel_range: Callable[[Any], tuple[jax.Array, jax.Array]]
    """Arrays -> what black and white are in the images drawn."""


AnySource = Source | FedSource
