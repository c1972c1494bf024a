"""A normaliser-free ResNet (arXiv:2102.06171): parameters as a plain tree, one function from images to logits."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from sweeps.nfnet_shape import Block, NFNetShape
from training.convolution import convolve

GELU_GAIN = 1.7015
"""gamma: keeps the variance of unit-variance input (arXiv:2101.08692)."""
RESIDUAL_SCALE = 0.2
"""alpha: how much variance a block adds, alpha squared of its input's."""
CLASSIFIER_INIT_STD = 0.01

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """A parameter yet to be drawn: its shape, and its standard deviation (0 for constants)."""

    shape: tuple[int, ...]
    std: float = 0.0
    constant: float = 0.0


def init(key: jax.Array, shape: NFNetShape, *, channels: int, classes: int, skip_init: float) -> Params:
    """Returns fresh float32 parameters for images of `channels` channels and `classes` classes.

    All weights are slices of one vector of normals: one small program instead of one for each weight's shape.
    """
    leaves, tree = jax.tree.flatten(_layout(shape, channels=channels, classes=classes, skip_init=skip_init))
    normals = jax.random.normal(key, (sum(math.prod(leaf.shape) for leaf in leaves if leaf.std),))
    drawn, first = [], 0
    for leaf in leaves:
        if leaf.std:
            size = math.prod(leaf.shape)
            drawn.append(leaf.std * normals[first : first + size].reshape(leaf.shape))
            first += size
        else:
            drawn.append(jnp.full(leaf.shape, leaf.constant, jnp.float32))
    return jax.tree.unflatten(tree, drawn)


def _layout(shape: NFNetShape, *, channels: int, classes: int, skip_init: float) -> Params:
    stem, width = [], channels
    for stem_width in shape.stem_widths:
        stem.append(_conv_layout(3, width, stem_width))
        width = stem_width
    classifier = {"weight": _Leaf((shape.head_width, classes), CLASSIFIER_INIT_STD), "bias": _Leaf((classes,))}
    return {
        "stem": stem,
        "blocks": [_block_layout(block, skip_init=skip_init) for block in shape.blocks()],
        "head": _conv_layout(1, shape.stage_widths[-1], shape.head_width),
        "classifier": classifier,
    }


def apply(params: Params, images: jax.Array, shape: NFNetShape, *, path: str) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype."""
    x = jnp.transpose(images, (3, 1, 2, 0))
    for index, (conv, stride) in enumerate(zip(params["stem"], shape.stem_strides, strict=True)):
        x = _conv(conv, _gelu(x) if index else x, stride=stride, path=path)
    variance = 1.0
    for params_of_block, block in zip(params["blocks"], shape.blocks(), strict=True):
        x = _block(params_of_block, x, block, beta=variance**-0.5, path=path)
        # A transition's shortcut starts from the scaled activation, so the count of variance restarts with it.
        variance = (1.0 if block.is_transition else variance) + RESIDUAL_SCALE**2
    x = _gelu(_conv(params["head"], x, path=path))
    return _linear(params["classifier"], jnp.mean(x, axis=(1, 2))).T


def _block_layout(block: Block, *, skip_init: float) -> Params:
    middle, out = block.bottleneck_width, block.out_width
    layout = {
        "reduce": _conv_layout(1, block.in_width, middle),
        "grouped0": _conv_layout(3, middle // block.groups, middle),
        "grouped1": _conv_layout(3, middle // block.groups, middle),
        "expand": _conv_layout(1, middle, out),
        "squeeze": _linear_layout(out, block.se_width),
        "excite": _linear_layout(block.se_width, out),
        "skip_gain": _Leaf((), constant=skip_init),
    }
    if block.is_transition:
        layout["shortcut"] = _conv_layout(1, block.in_width, out)
    return layout


def _block(params: Params, x: jax.Array, block: Block, *, beta: float, path: str) -> jax.Array:
    """Returns a pre-activation bottleneck block's output; `beta` scales its input to unit variance."""
    h = _gelu(x) * beta
    shortcut = x
    if block.is_transition:
        shortcut = _conv(params["shortcut"], _average_pool(h) if block.stride == 2 else h, path=path)
    out = _conv(params["reduce"], h, path=path)
    out = _conv(params["grouped0"], _gelu(out), stride=block.stride, groups=block.groups, path=path)
    out = _conv(params["grouped1"], _gelu(out), groups=block.groups, path=path)
    out = _conv(params["expand"], _gelu(out), path=path)
    out = out * (2.0 * _squeeze_excite(params, out))[:, None, None, :]
    return shortcut + out * (RESIDUAL_SCALE * params["skip_gain"]).astype(out.dtype)


def _squeeze_excite(params: Params, x: jax.Array) -> jax.Array:
    """Returns a gate in (0, 1) for each channel of each image, shape (channels, batch)."""
    hidden = jax.nn.relu(_linear(params["squeeze"], jnp.mean(x, axis=(1, 2))))
    return jax.nn.sigmoid(_linear(params["excite"], hidden))


def _conv(conv: Params, x: jax.Array, *, stride: int = 1, groups: int = 1, path: str) -> jax.Array:
    weight = standardise(conv["weight"], conv["gain"]).astype(x.dtype)
    return convolve(x, weight, stride=stride, groups=groups, path=path) + _per_channel(conv["bias"], x)


def standardise(weight: jax.Array, gain: jax.Array) -> jax.Array:
    """Returns `weight` (kh, kw, in, out) with zero mean and variance gain^2 / fan_in per output unit.

    Scaled weight standardisation, arXiv:2101.08692 eq. 2, with the floor of 1e-4 of the authors' code.
    """
    fan_in = math.prod(weight.shape[:-1])
    mean = jnp.mean(weight, axis=(0, 1, 2), keepdims=True)
    variance = jnp.var(weight, axis=(0, 1, 2), keepdims=True)
    return gain * (weight - mean) * jax.lax.rsqrt(jnp.maximum(variance * fan_in, 1e-4))


def _gelu(x: jax.Array) -> jax.Array:
    return GELU_GAIN * jax.nn.gelu(x)


def _average_pool(x: jax.Array) -> jax.Array:
    """Returns the means over 2 x 2 pixels."""
    channels, height, width, batch = x.shape
    return jnp.mean(x.reshape(channels, height // 2, 2, width // 2, 2, batch), axis=(2, 4))


def _linear(linear: Params, x: jax.Array) -> jax.Array:
    """Returns the dense layer's output, shape (out, batch), of `x` (in, batch)."""
    return linear["weight"].astype(x.dtype).T @ x + linear["bias"].astype(x.dtype)[:, None]


def _per_channel(bias: jax.Array, like: jax.Array) -> jax.Array:
    return bias.astype(like.dtype)[:, None, None, None]


def _conv_layout(kernel: int, fan_in_channels: int, out: int) -> Params:
    weight = _Leaf((kernel, kernel, fan_in_channels, out), 1 / math.sqrt(kernel * kernel * fan_in_channels))
    return {"weight": weight, "gain": _Leaf((out,), constant=1.0), "bias": _Leaf((out,))}


def _linear_layout(width: int, out: int) -> Params:
    return {"weight": _Leaf((width, out), 1 / math.sqrt(width)), "bias": _Leaf((out,))}
