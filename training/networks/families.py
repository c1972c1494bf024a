"""One door to all architectures: parameters and logits of whatever shape a trial has."""

from typing import assert_never

import jax

from sweeps.hybrid_shape import HybridShape
from sweeps.nfnet_shape import NFNetShape
from sweeps.separable_shape import SeparableShape
from sweeps.shape import Shape
from sweeps.vit_shape import ViTShape
from training.networks import hybrid, nfnet, separable, vit
from training.networks.forward import Forward
from training.networks.layers import Params


def init(key: jax.Array, shape: Shape, *, image_px: int, channels: int, classes: int, skip_init: float) -> Params:
    """Returns fresh float32 parameters: nested dicts and lists, with `classifier` {weight (features, classes), bias}.

    Args:
        image_px: side of the training images, to which a table of positions is cut.
        skip_init: where the learnable gain of each residual branch starts, in the families that have one.
    """
    match shape:
        case NFNetShape():
            return nfnet.init(key, shape, channels=channels, classes=classes, skip_init=skip_init)
        case ViTShape():
            return vit.init(key, shape, image_px=image_px, channels=channels, classes=classes)
        case SeparableShape():
            return separable.init(
                key, shape, image_px=image_px, channels=channels, classes=classes, skip_init=skip_init
            )
        case HybridShape():
            return hybrid.init(key, shape, image_px=image_px, channels=channels, classes=classes)
        case _:
            assert_never(shape)


def apply(
    params: Params, images: jax.Array, shape: Shape, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype.

    Args:
        key: of the noise of training: stochastic depth and dropout, both absent without it.
    """
    match shape:
        case NFNetShape():
            return nfnet.apply(params, images, shape, forward=forward, key=key)
        case ViTShape():
            return vit.apply(params, images, shape, forward=forward, key=key)
        case SeparableShape():
            return separable.apply(params, images, shape, forward=forward, key=key)
        case HybridShape():
            return hybrid.apply(params, images, shape, forward=forward, key=key)
        case _:
            assert_never(shape)
