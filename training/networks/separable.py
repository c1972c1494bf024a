"""A depthwise-separable ConvNet in the form of ConvNeXt (arXiv:2201.03545): a plain tree, images to logits.

Images are (channels, height, width, batch) inside, as in convolution.py. The blocks of a stage are all alike: their
parameters lie stacked, with a leading axis, and one compiled body runs them in turn.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from sweeps.separable_shape import SeparableShape
from training.networks.forward import Forward
from training.networks.layers import (
    CLASSIFIER_INIT_STD,
    STACKED,
    Leaf,
    Params,
    dense,
    dense_layout,
    draw,
    drop_branch,
    drop_rates,
    dropout,
    gathered,
    layer_norm,
    norm_layout,
    stacked,
)


def init(
    key: jax.Array, shape: SeparableShape, *, image_px: int, channels: int, classes: int, skip_init: float
) -> Params:
    """Returns fresh float32 parameters; skip_init is where the layer scale starts (ConvNeXt: 1e-6).

    Weights keep the variance of their input, where the authors draw them all at 0.02: narrow nets would start silent.
    """
    stages = []
    for index, stage in enumerate(shape.stages(image_px=image_px, channels=channels)):
        block = _block_layout(stage.width, shape, skip_init=skip_init)
        stages.append(
            {
                "norm": norm_layout(stage.in_width if index else stage.width),
                "entry": dense_layout(stage.entry_px**2 * stage.in_width, stage.width),
                "blocks": stacked(block, stage.depth),
            }
        )
    width = shape.stage_widths[-1]
    classifier = dense_layout(width, classes, std=CLASSIFIER_INIT_STD)
    return draw(key, {"stages": stages, "norm": norm_layout(width), "classifier": classifier})


def apply(
    params: Params, images: jax.Array, shape: SeparableShape, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype.

    Args:
        key: of the noise of training: stochastic depth and dropout, both absent without it.
    """
    x = jnp.transpose(images, (3, 1, 2, 0))
    has_noise = key is not None and forward.stochastic_depth > 0
    keys = None if key is None else jax.random.split(key, shape.blocks + 1)
    drops = drop_rates(forward.stochastic_depth, shape.blocks)
    first = 0
    for index, (stage, depth) in enumerate(zip(params["stages"], shape.stage_depths, strict=True)):
        if index:
            x = _pointwise(stage["entry"], _patches(layer_norm(stage["norm"], x, axis=0), 2))
        else:
            x = layer_norm(stage["norm"], _pointwise(stage["entry"], _patches(x, shape.stem_px)), axis=0)
        run = slice(first, first + depth)
        noise = (keys[1:][run], drops[run]) if keys is not None and has_noise else (None, None)
        x = _run_blocks(stage["blocks"][STACKED], x, noise, forward=forward)
        first += depth
    features = layer_norm(params["norm"], jnp.mean(x, axis=(1, 2)).T)
    return dense(params["classifier"], dropout(None if keys is None else keys[0], features, forward.dropout))


def _block_layout(width: int, shape: SeparableShape, *, skip_init: float) -> Params:
    inner = shape.expansion * width
    kernel = Leaf((shape.kernel_px, shape.kernel_px, 1, width), 1 / shape.kernel_px)
    return {
        "depthwise": {"weight": kernel, "bias": Leaf((width,))},
        "norm": norm_layout(width),
        "expand": dense_layout(width, inner),
        "contract": dense_layout(inner, width),
        "scale": Leaf((width,), constant=skip_init),
    }


def _run_blocks(params: Params, x: jax.Array, noise: tuple[Any, Any], *, forward: Forward) -> jax.Array:
    def block(x: jax.Array, one: Any) -> tuple[jax.Array, None]:
        params, key, drop = one
        params = gathered(params, forward.whole)
        branch = depthwise(x, params["depthwise"]["weight"].astype(x.dtype), path=forward.path)
        branch = layer_norm(params["norm"], branch + _per_channel(params["depthwise"]["bias"], x), axis=0)
        branch = _pointwise(params["contract"], jax.nn.gelu(_pointwise(params["expand"], branch)))
        return x + drop_branch(key, branch * _per_channel(params["scale"], x), drop, batch_axis=3), None

    body = jax.checkpoint(block, prevent_cse=False) if forward.remat else block
    return jax.lax.scan(body, x, (params, *noise))[0]


def depthwise(x: jax.Array, weight: jax.Array, *, path: str) -> jax.Array:
    """Returns the SAME convolution of each channel of `x` (channels, h, w, batch) with its own kernel.

    Args:
        weight: (kh, kw, 1, channels), sides odd.
        path: "xla", or "im2col": a sum over shifted images, whose weight gradient a CPU computes far faster than XLA's.
    """
    channels, height, width, _ = x.shape
    if path == "xla":
        dimensions = ("CHWN", "HWIO", "CHWN")
        return lax.conv_general_dilated(
            x, weight, (1, 1), "SAME", dimension_numbers=dimensions, feature_group_count=channels
        )
    if path != "im2col":
        raise ValueError(f"convolution path {path!r} is unknown; it is xla or im2col")
    rows, columns = weight.shape[:2]
    padded = jnp.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    taps = itertools.product(range(rows), range(columns))
    return sum(
        (padded[:, i : i + height, j : j + width] * _per_channel(weight[i, j, 0], x) for i, j in taps),
        start=jnp.zeros_like(x),
    )


def _patches(x: jax.Array, patch_px: int) -> jax.Array:
    """Returns what each patch without overlap holds, shape (patch_px^2 * channels, out h, out w, batch)."""
    channels, height, width, batch = x.shape
    rows, columns = height // patch_px, width // patch_px
    seen = x[:, : rows * patch_px, : columns * patch_px]
    grid = seen.reshape(channels, rows, patch_px, columns, patch_px, batch).transpose(2, 4, 0, 1, 3, 5)
    return grid.reshape(patch_px**2 * channels, rows, columns, batch)


def _pointwise(params: Params, x: jax.Array) -> jax.Array:
    """Returns the dense layer's output, shape (out, height, width, batch), of `x` (in, height, width, batch)."""
    channels, *place = x.shape
    y = params["weight"].astype(x.dtype).T @ x.reshape(channels, -1)
    return y.reshape(-1, *place) + _per_channel(params["bias"], x)


def _per_channel(vector: jax.Array, like: jax.Array) -> jax.Array:
    return vector.astype(like.dtype)[:, None, None, None]
