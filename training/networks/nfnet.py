"""A normaliser-free ResNet (arXiv:2102.06171): parameters as a plain tree, one function from images to logits.

The blocks that follow the first of a stage are all alike. From two of them on they lie stacked, with a leading axis,
and one compiled body runs them in turn: a network of 96 blocks compiles as fast as one of 12.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from sweeps.nfnet_shape import Block, NFNetShape
from training.networks.activation import gelu
from training.networks.convolution import convolve
from training.networks.forward import Forward
from training.networks.layers import CLASSIFIER_INIT_STD, STACKED, Leaf, Params, draw, dropout, gathered, stacked
from training.networks.standardisation import standardise_by_rows

GELU_GAIN = 1.7015
"""gamma: keeps the variance of unit-variance input (arXiv:2101.08692)."""
RESIDUAL_SCALE = 0.2
"""alpha: how much variance a block adds, alpha squared of its input's."""
FEWEST_STACKED = 2
"""Blocks alike that are worth a loop."""
_KEPT = jax.checkpoint_policies.save_only_these_names("convolution", "expanded", "gate")
"""What a loop keeps of a block for the backward pass: the rest is cheap to compute again, and dear to store."""


def init(
    key: jax.Array, shape: NFNetShape, *, channels: int, classes: int, skip_init: float, image_px: int | None = None
) -> Params:
    """Returns fresh float32 parameters for images of `channels` channels and `classes` classes, of any size."""
    return draw(key, _layout(shape, channels=channels, classes=classes, skip_init=skip_init))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """One entry of params["blocks"]: a block, or several alike."""

    block: Block
    """The first of them."""
    betas: tuple[float, ...]
    """What scales the input of each block to unit variance."""
    positions: tuple[int, ...]
    """Of each block in the network."""

    @property
    def is_stacked(self) -> bool:
        return len(self.betas) > 1


def _layout(shape: NFNetShape, *, channels: int, classes: int, skip_init: float) -> Params:
    stem, width = [], channels
    for stem_width in shape.stem_widths:
        stem.append(_conv_layout(3, width, stem_width))
        width = stem_width
    classifier = {"weight": Leaf((shape.head_width, classes), CLASSIFIER_INIT_STD), "bias": Leaf((classes,))}
    return {
        "stem": stem,
        "blocks": [_run_layout(run, skip_init=skip_init) for run in _runs(shape)],
        "head": _conv_layout(1, shape.stage_widths[-1], shape.head_width),
        "classifier": classifier,
    }


def _run_layout(run: _Run, *, skip_init: float) -> Params:
    layout = _block_layout(run.block, skip_init=skip_init)
    return stacked(layout, len(run.betas)) if run.is_stacked else layout


def _runs(shape: NFNetShape) -> Iterator[_Run]:
    blocks, betas = list(shape.blocks()), []
    variance = 1.0
    for block in blocks:
        betas.append(variance**-0.5)
        # A transition's shortcut starts from the scaled activation, so the count of variance restarts with it.
        variance = (1.0 if block.is_transition else variance) + RESIDUAL_SCALE**2
    first = 0
    for depth in shape.stage_depths:
        alike = [depth - 1] if depth - 1 >= FEWEST_STACKED else [1] * (depth - 1)
        for count in (1, *alike):
            positions = tuple(range(first, first + count))
            yield _Run(block=blocks[first], betas=tuple(betas[first : first + count]), positions=positions)
            first += count


def apply(
    params: Params, images: jax.Array, shape: NFNetShape, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype.

    Args:
        key: of the noise of training: stochastic depth and dropout, both absent without it.
    """
    ends = gathered({name: params[name] for name in ("stem", "head", "classifier")}, forward.whole)
    params = {**params, **ends}
    x = jnp.transpose(images, (3, 1, 2, 0))
    for index, (conv, stride) in enumerate(zip(params["stem"], shape.stem_strides, strict=True)):
        x = _conv(conv, _gelu(x) if index else x, stride=stride, path=forward.path)
    blocks = sum(shape.stage_depths)
    for params_of_run, run in zip(params["blocks"], _runs(shape), strict=True):
        # As the authors' code has it: from 0 at the first block to just short of the rate at the last.
        drops = [forward.stochastic_depth * position / blocks for position in run.positions]
        x = _run_blocks(params_of_run, x, run, drops=drops, forward=forward, key=key)
    x = _gelu(_conv(params["head"], x, path=forward.path))
    features = jnp.mean(x, axis=(1, 2))
    if key is not None:
        features = dropout(jax.random.fold_in(key, blocks), features, forward.dropout)
    return _linear(params["classifier"], features).T


def _run_blocks(
    params: Params, x: jax.Array, run: _Run, *, drops: Sequence[float], forward: Forward, key: jax.Array | None
) -> jax.Array:
    """Returns what one entry of params["blocks"] makes of `x`; block i loses its residual branch at chance drops[i]."""
    keys = None
    if key is not None and forward.stochastic_depth > 0:
        keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(jnp.array(run.positions))

    def block(params: Params, x: jax.Array, beta: float | jax.Array, kept: jax.Array | None) -> jax.Array:
        return _block(gathered(params, forward.whole), x, run.block, beta=beta, kept=kept, path=forward.path)

    if not run.is_stacked:
        kept = None if keys is None else _kept(keys[0], drops[0], x)
        # A barrier against merging the second computation with the first, which a loop has by itself.
        once = jax.checkpoint(block) if forward.remat else block
        return once(params, x, run.betas[0], kept)

    def body(x: jax.Array, one: Any) -> tuple[jax.Array, None]:
        params, beta, key, drop = one
        kept = None if key is None else _kept(key, drop, x)
        if forward.remat or not is_on_cpu:
            once = jax.checkpoint(block, prevent_cse=False, policy=None if forward.remat else _KEPT)
        else:
            once = block
        return once(params, x, beta, kept), None

    is_on_cpu = forward.path == "im2col"  # there a loop saves nothing but compile time, and arithmetic is what is dear
    betas = jnp.array(run.betas, x.dtype)
    each = (jax.tree.map(jnp.asarray, params[STACKED]), betas, keys, jnp.array(drops))
    return jax.lax.scan(body, x, each, unroll=len(betas) if is_on_cpu else 1)[0]


def _kept(key: jax.Array, drop: float | jax.Array, x: jax.Array) -> jax.Array:
    """Returns 1 for each image whose residual branch stays, 0 for the others; the branch is not scaled up for it."""
    return jax.random.bernoulli(key, 1 - drop, x.shape[-1:]).astype(x.dtype)


def _block_layout(block: Block, *, skip_init: float) -> Params:
    middle, out = block.bottleneck_width, block.out_width
    layout = {
        "reduce": _conv_layout(1, block.in_width, middle),
        "grouped0": _conv_layout(3, middle // block.groups, middle),
        "grouped1": _conv_layout(3, middle // block.groups, middle),
        "expand": _conv_layout(1, middle, out),
        "squeeze": _linear_layout(out, block.se_width),
        "excite": _linear_layout(block.se_width, out),
        "skip_gain": Leaf((), constant=skip_init),
    }
    if block.is_transition:
        layout["shortcut"] = _conv_layout(1, block.in_width, out)
    return layout


def _block(
    params: Params, x: jax.Array, block: Block, *, beta: float | jax.Array, kept: jax.Array | None, path: str
) -> jax.Array:
    """Returns a pre-activation bottleneck block's output.

    Args:
        beta: scales its input to unit variance.
        kept: which images keep the residual branch (1 or 0); absent: all.
    """
    h = _gelu(x) * beta
    shortcut = x
    if block.is_transition:
        shortcut = _conv(params["shortcut"], _average_pool(h) if block.stride == 2 else h, path=path)
    out = _conv(params["reduce"], h, path=path)
    out = _conv(params["grouped0"], _gelu(out), stride=block.stride, groups=block.groups, path=path)
    out = _conv(params["grouped1"], _gelu(out), groups=block.groups, path=path)
    out = _conv(params["expand"], _gelu(out), path=path, name="expanded")
    gate = 2.0 * checkpoint_name(_squeeze_excite(params, out), "gate")
    out = out * (gate if kept is None else gate * kept)[:, None, None, :]
    return shortcut + out * (RESIDUAL_SCALE * params["skip_gain"]).astype(out.dtype)


def _squeeze_excite(params: Params, x: jax.Array) -> jax.Array:
    """Returns a gate in (0, 1) for each channel of each image, shape (channels, batch)."""
    hidden = jax.nn.relu(_linear(params["squeeze"], jnp.mean(x, axis=(1, 2))))
    return jax.nn.sigmoid(_linear(params["excite"], hidden))


def _conv(
    conv: Params, x: jax.Array, *, stride: int = 1, groups: int = 1, path: str, name: str = "convolution"
) -> jax.Array:
    by = standardise_by_rows if path == "im2col" else standardise
    weight = by(conv["weight"], conv["gain"]).astype(x.dtype)
    out = convolve(x, weight, stride=stride, groups=groups, path=path) + _per_channel(conv["bias"], x)
    return checkpoint_name(out, name)


def standardise(weight: jax.Array, gain: jax.Array) -> jax.Array:
    """Returns `weight` (kh, kw, in, out) with zero mean and variance gain^2 / fan_in per output unit.

    Scaled weight standardisation, arXiv:2101.08692 eq. 2, with the floor of 1e-4 of the authors' code.
    """
    fan_in = math.prod(weight.shape[:-1])
    mean = jnp.mean(weight, axis=(0, 1, 2), keepdims=True)
    variance = jnp.var(weight, axis=(0, 1, 2), keepdims=True)
    return gain * (weight - mean) * jax.lax.rsqrt(jnp.maximum(variance * fan_in, 1e-4))


def _gelu(x: jax.Array) -> jax.Array:
    return GELU_GAIN * gelu(x)


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
    weight = Leaf((kernel, kernel, fan_in_channels, out), 1 / math.sqrt(kernel * kernel * fan_in_channels))
    return {"weight": weight, "gain": Leaf((out,), constant=1.0), "bias": Leaf((out,))}


def _linear_layout(width: int, out: int) -> Params:
    return {"weight": Leaf((width, out), 1 / math.sqrt(width)), "bias": Leaf((out,))}
