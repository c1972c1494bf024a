"""Layers that several architectures are made of, and how parameters are laid out before they are drawn."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

CLASSIFIER_INIT_STD = 0.01
NORM_EPS = 1e-6
"""Of the authors' code, arXiv:2010.11929 and arXiv:2201.03545 alike."""
STACKED = "stacked"
"""The key below which leaves have a leading axis of blocks."""

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A parameter yet to be drawn: its shape, and its standard deviation (0 for constants)."""

    shape: tuple[int, ...]
    std: float = 0.0
    constant: float = 0.0


def draw(key: jax.Array, layout: Params) -> Params:
    """Returns fresh float32 parameters in the form of `layout`, a tree of Leaf.

    All are slices of one vector of normals: one small program instead of one for each shape.
    """
    leaves, tree = jax.tree.flatten(layout)
    normals = jax.random.normal(key, (sum(math.prod(leaf.shape) for leaf in leaves if leaf.std),))
    drawn, first = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape)
        if leaf.std:
            drawn.append(leaf.std * normals[first : first + size].reshape(leaf.shape))
            first += size
        else:
            drawn.append(jnp.full(leaf.shape, leaf.constant, jnp.float32))
    return jax.tree.unflatten(tree, drawn)


def stacked(layout: Params, count: int) -> Params:
    """Returns the layout of `count` blocks alike: one tree whose leaves have a leading axis of blocks."""
    return {STACKED: jax.tree.map(lambda leaf: dataclasses.replace(leaf, shape=(count, *leaf.shape)), layout)}


def gathered(params: Any, whole: Any) -> Any:
    """Returns parameters whole on every device, where `whole` is the sharding that says so; else as they are.

    Their gradients are summed up whole and spread again by the same rule.
    """
    if whole is None:
        return params
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, whole), params)


def dense_layout(width: int, out: int, *, std: float | None = None) -> Params:
    """Returns the layout of a dense layer; its outputs have the variance of its inputs, unless std says otherwise."""
    return {"weight": Leaf((width, out), width**-0.5 if std is None else std), "bias": Leaf((out,))}


def dense(params: Params, x: jax.Array) -> jax.Array:
    """Returns the layer's output (..., out) of `x` (..., width)."""
    return x @ params["weight"].astype(x.dtype) + params["bias"].astype(x.dtype)


def norm_layout(width: int) -> Params:
    """Returns the layout of a LayerNorm."""
    return {"gain": Leaf((width,), constant=1.0), "bias": Leaf((width,))}


def layer_norm(params: Params, x: jax.Array, *, axis: int = -1) -> jax.Array:
    """Returns `x` with mean 0 and variance 1 along `axis`, times a gain, plus a bias; computed in float32."""
    wide = x.astype(jnp.float32)
    along = [1] * x.ndim
    along[axis] = x.shape[axis]
    mean = jnp.mean(wide, axis=axis, keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=axis, keepdims=True)
    normal = (wide - mean) * jax.lax.rsqrt(variance + NORM_EPS)
    return (normal * params["gain"].reshape(along) + params["bias"].reshape(along)).astype(x.dtype)


def dropout(key: jax.Array | None, x: jax.Array, rate: float) -> jax.Array:
    """Returns `x` with a part `rate` of its numbers zero and the others scaled up for them; without a key, `x`."""
    if key is None or rate <= 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def drop_branch(key: jax.Array | None, branch: jax.Array, rate: jax.Array | float, *, batch_axis: int) -> jax.Array:
    """Returns a residual branch that is zero for a part `rate` of the images and scaled up for the others.

    Stochastic depth, arXiv:1603.09382, in the form that ViTs and ConvNeXts are trained with. Without a key, `branch`.
    """
    if key is None:
        return branch
    along = [1] * branch.ndim
    along[batch_axis] = branch.shape[batch_axis]
    kept = jax.random.bernoulli(key, 1 - rate, tuple(along))
    return branch * (kept / (1 - rate)).astype(branch.dtype)


def drop_rates(rate: float, blocks: int) -> jax.Array:
    """Returns the chance that each block loses its branch, from 0 at the first to `rate` at the last."""
    return jnp.linspace(0.0, rate, blocks) if blocks > 1 else jnp.full((1,), rate)
