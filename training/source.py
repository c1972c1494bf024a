"""Where training images come from: a source draws batches inside the compiled program and says in which order."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

EVALUATION_BATCH_IMAGES = 256
"""Held-out sets are whole numbers of these."""
HELD_OUT, SELECTION = 0xFFFF0001, 0xFFFF0002
"""Stream numbers of the two held-out sets; training streams are the trials' seeds."""

Batch = tuple[jax.Array, jax.Array]
"""Images (batch, px, px, channels) and target probabilities (batch, classes)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One data set, ready to be drawn from inside a compiled program."""

    arrays: Any
    """A tree of device arrays, handed to every draw."""
    draw: Callable[[Any, jax.Array, jax.Array], Batch]
    """(arrays, uint32 indices, uint32 stream) -> training batch; pure, so that it can live inside the step."""
    draw_held_out: Callable[[Any, jax.Array, jax.Array], Batch]
    """(arrays, uint32 indices, HELD_OUT or SELECTION) -> batch without augmentation."""
    order: Callable[[int, int, int], np.ndarray]
    """(seed, first, count) -> uint32 indices of the training images at places first ... first + count - 1."""
