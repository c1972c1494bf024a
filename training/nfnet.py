"""A normaliser-free ResNet (arXiv:2102.06171): parameters as a plain tree, one function from images to logits."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from sweeps.nfnet_shape import NFNetShape
from training.convolution import convolve

GELU_GAIN = 1.7015
"""gamma: keeps the variance of unit-variance input (arXiv:2101.08692)."""
RESIDUAL_SCALE = 0.2
"""alpha: how much variance a block adds, alpha squared of its input's."""
CLASSIFIER_INIT_STD = 0.01

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Normal:
    """A leaf yet to be drawn: its shape, and its standard deviation (0 for constants)."""

    shape: tuple[int, ...]
    std: float
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
    stages = []
    for stage, (depth, out) in enumerate(zip(shape.stage_depths, shape.stage_widths, strict=True)):
        blocks = []
        for index in range(depth):
            blocks.append(_block_layout(shape, stage, width, out, first=index == 0, skip_init=skip_init))
            width = out
        stages.append(blocks)
    head_width = shape.head_width
    classifier = {"weight": _Normal((head_width, classes), CLASSIFIER_INIT_STD), "bias": _Normal((classes,), 0.0)}
    return {"stem": stem, "stages": stages, "head": _conv_layout(1, width, head_width), "classifier": classifier}


def apply(params: Params, images: jax.Array, shape: NFNetShape, *, path: str) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype."""
    x = jnp.transpose(images, (3, 1, 2, 0))
    for index, (conv, stride) in enumerate(zip(params["stem"], shape.stem_strides, strict=True)):
        x = _conv(conv, _gelu(x) if index else x, stride=stride, path=path)
    variance = 1.0
    for stage, blocks in enumerate(params["stages"]):
        for index, block in enumerate(blocks):
            stride = shape.stage_strides[stage] if index == 0 else 1
            x = _block(block, x, beta=variance**-0.5, stride=stride, groups=shape.groups(stage), path=path)
            # A transition's shortcut starts from the scaled activation, so the count of variance restarts with it.
            variance = (1.0 if index == 0 else variance) + RESIDUAL_SCALE**2
    x = _gelu(_conv(params["head"], x, path=path))
    return _linear(params["classifier"], jnp.mean(x, axis=(1, 2))).T


def _block_layout(
    shape: NFNetShape, stage: int, width: int, out: int, *, first: bool, skip_init: float
) -> Params:
    middle, groups, hidden = shape.bottleneck_width(stage), shape.groups(stage), shape.se_width(stage)
    block = {
        "conv0": _conv_layout(1, width, middle),
        "conv1": _conv_layout(3, middle // groups, middle),
        "conv2": _conv_layout(3, middle // groups, middle),
        "conv3": _conv_layout(1, middle, out),
        "squeeze": _linear_layout(out, hidden),
        "excite": _linear_layout(hidden, out),
        "skip_gain": _Normal((), 0.0, skip_init),
    }
    if first:
        block["shortcut"] = _conv_layout(1, width, out)
    return block


def _block(block: Params, x: jax.Array, *, beta: float, stride: int, groups: int, path: str) -> jax.Array:
    """Returns a pre-activation bottleneck block's output; `beta` scales its input to unit variance."""
    h = _gelu(x) * beta
    shortcut = x
    if "shortcut" in block:
        shortcut = _conv(block["shortcut"], _average_pool(h) if stride == 2 else h, path=path)
    out = _conv(block["conv0"], h, path=path)
    out = _conv(block["conv1"], _gelu(out), stride=stride, groups=groups, path=path)
    out = _conv(block["conv2"], _gelu(out), groups=groups, path=path)
    out = _conv(block["conv3"], _gelu(out), path=path)
    out = out * (2.0 * _squeeze_excite(block, out))[:, None, None, :]
    return shortcut + out * (RESIDUAL_SCALE * block["skip_gain"]).astype(out.dtype)


def _squeeze_excite(block: Params, x: jax.Array) -> jax.Array:
    """Returns a gate in (0, 1) for each channel of each image, shape (channels, batch)."""
    hidden = jax.nn.relu(_linear(block["squeeze"], jnp.mean(x, axis=(1, 2))))
    return jax.nn.sigmoid(_linear(block["excite"], hidden))


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
    weight = _Normal((kernel, kernel, fan_in_channels, out), 1 / math.sqrt(kernel * kernel * fan_in_channels))
    return {"weight": weight, "gain": _Normal((out,), 0.0, 1.0), "bias": _Normal((out,), 0.0)}


def _linear_layout(width: int, out: int) -> Params:
    return {"weight": _Normal((width, out), 1 / math.sqrt(width)), "bias": _Normal((out,), 0.0)}
