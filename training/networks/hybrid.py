"""A transformer behind a convolutional stem (arXiv:2106.14881): 3x3 convolutions make the tokens that a ViT encodes."""

import itertools

import jax
import jax.numpy as jnp

from sweeps.hybrid_shape import HybridShape
from training.networks.convolution import convolve
from training.networks.forward import Forward
from training.networks.layers import (
    CLASSIFIER_INIT_STD,
    Leaf,
    Params,
    dense,
    dense_layout,
    draw,
    layer_norm,
    norm_layout,
)
from training.networks.vit import encode, encoder_layout


def init(
    key: jax.Array, shape: HybridShape, *, image_px: int, channels: int, classes: int, skip_init: float | None = None
) -> Params:
    """Returns fresh float32 parameters for training images of this size; no branch has a gain for skip_init."""
    widths = (channels, *shape.stem_widths)
    return draw(
        key,
        {
            "stem": [_stem_layout(width, out) for width, out in itertools.pairwise(widths)],
            "embed": dense_layout(shape.stem_widths[-1], shape.width),
            "encoder": encoder_layout(shape.encoder, grid=shape.grid(image_px)),
            "classifier": dense_layout(shape.width, classes, std=CLASSIFIER_INIT_STD),
        },
    )


def apply(
    params: Params, images: jax.Array, shape: HybridShape, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype.

    Args:
        key: of the noise of training: stochastic depth and dropout, both absent without it.
    """
    x = jnp.transpose(images, (3, 1, 2, 0))
    for conv, stride in zip(params["stem"], shape.stem_strides, strict=True):
        x = convolve(x, conv["weight"].astype(x.dtype), stride=stride, path=forward.path)
        x = jax.nn.gelu(layer_norm(conv["norm"], x, axis=0))
    tokens = dense(params["embed"], jnp.transpose(x, (3, 1, 2, 0)))
    return dense(params["classifier"], encode(params["encoder"], tokens, shape.encoder, forward=forward, key=key))


def _stem_layout(width: int, out: int) -> Params:
    return {"weight": Leaf((3, 3, width, out), (9 * width) ** -0.5), "norm": norm_layout(out)}
