"""One door to all architectures: parameters and logits of whatever shape a trial has.

The network of a family is `training/networks/FAMILY.py`, with an `init` and an `apply` as below.
"""

import importlib
from types import ModuleType

import jax

from sweeps.shape import Shape, family_of
from training.networks.forward import Forward
from training.networks.layers import Params


def init(key: jax.Array, shape: Shape, *, image_px: int, channels: int, classes: int, skip_init: float) -> Params:
    """Returns fresh float32 parameters: nested dicts and lists, with `classifier` {weight (features, classes), bias}.

    Args:
        image_px: side of the training images, to which a table of positions is cut.
        skip_init: where the learnable gain of each residual branch starts, in the families that have one.
    """
    network = _network(shape)
    return network.init(key, shape, image_px=image_px, channels=channels, classes=classes, skip_init=skip_init)


def apply(
    params: Params, images: jax.Array, shape: Shape, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype.

    Args:
        key: of the noise of training: stochastic depth and dropout, both absent without it.
    """
    return _network(shape).apply(params, images, shape, forward=forward, key=key)


def _network(shape: Shape) -> ModuleType:
    return importlib.import_module(f"training.networks.{family_of(shape)}")
