"""A vision transformer (arXiv:2010.11929; attention pooling arXiv:2106.04560): a plain tree, images to logits.

The blocks are all alike: their parameters lie stacked, with a leading axis, and one compiled body runs them in turn.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from sweeps.vit_shape import Encoder, ViTShape
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

UNROLLED_DEPTH = 4
"""Up to so many blocks follow one another without a loop: small nets run faster, and compile as fast."""


def init(
    key: jax.Array, shape: ViTShape, *, image_px: int, channels: int, classes: int, skip_init: float | None = None
) -> Params:
    """Returns fresh float32 parameters for training images of this size; no branch has a gain for skip_init.

    The classifier reads one token's width.
    """
    return draw(
        key,
        {
            "embed": dense_layout(shape.patch_px**2 * channels, shape.width),
            "encoder": encoder_layout(shape.encoder, grid=shape.grid(image_px)),
            "classifier": dense_layout(shape.width, classes, std=CLASSIFIER_INIT_STD),
        },
    )


def apply(
    params: Params, images: jax.Array, shape: ViTShape, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns logits, shape (batch, classes), of images (batch, height, width, channels) in the images' dtype.

    Args:
        key: of the noise of training: stochastic depth and dropout, both absent without it.
    """
    embed, classifier = gathered((params["embed"], params["classifier"]), forward.whole)
    tokens = dense(embed, patches(images, shape.patch_px))
    return dense(classifier, encode(params["encoder"], tokens, shape.encoder, forward=forward, key=key))


def patches(images: jax.Array, patch_px: int) -> jax.Array:
    """Returns the patches of images (batch, height, width, channels) as (batch, rows, columns, numbers)."""
    batch, height, width, channels = images.shape
    rows, columns = height // patch_px, width // patch_px
    seen = images[:, : rows * patch_px, : columns * patch_px]
    grid = seen.reshape(batch, rows, patch_px, columns, patch_px, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, patch_px**2 * channels)


def encoder_layout(encoder: Encoder, *, grid: int) -> Params:
    """Returns the layout of positions, blocks, final LayerNorm and pooling."""
    width = encoder.width
    layout = {
        "positions": Leaf((encoder.tokens(grid), width), width**-0.5),
        "blocks": stacked(_block_layout(encoder), encoder.depth),
        "norm": norm_layout(width),
    }
    if encoder.pooling == "token":
        layout["token"] = Leaf((width,))
    if encoder.pooling == "map":
        layout["pool"] = {
            "query": Leaf((width,), width**-0.5),
            "read_query": dense_layout(width, width),
            "read_tokens": dense_layout(width, 2 * width),
            "write": dense_layout(width, width),
            "norm": norm_layout(width),
            **_mlp_layout(encoder),
        }
    return layout


def encode(
    params: Params, grid: jax.Array, encoder: Encoder, *, forward: Forward, key: jax.Array | None = None
) -> jax.Array:
    """Returns the features (batch, width) that a classifier reads of a grid of tokens (batch, rows, columns, width)."""
    batch, rows, columns, width = grid.shape
    has_token = encoder.pooling == "token"
    x = grid.reshape(batch, rows * columns, width)
    if has_token:
        x = jnp.concatenate([jnp.broadcast_to(params["token"].astype(x.dtype), (batch, 1, width)), x], axis=1)
    x = x + _positions(params["positions"], rows, columns, has_token=has_token).astype(x.dtype)
    keys = None if key is None else jax.random.split(key, encoder.depth + 1)
    x = _run_blocks(params["blocks"][STACKED], x, encoder, forward=forward, keys=None if keys is None else keys[1:])
    x = layer_norm(params["norm"], x)
    return dropout(None if keys is None else keys[0], _pool(params, x, encoder), forward.dropout)


def _positions(table: jax.Array, rows: int, columns: int, *, has_token: bool) -> jax.Array:
    """Returns a position for each token; a grid of another size than the table's takes it resized bilinearly."""
    of_token, of_grid = table[: int(has_token)], table[int(has_token) :]
    side = math.isqrt(len(of_grid))
    if (rows, columns) != (side, side):
        square = of_grid.reshape(side, side, -1)
        of_grid = jax.image.resize(square, (rows, columns, square.shape[-1]), "bilinear").reshape(rows * columns, -1)
    return jnp.concatenate([of_token, of_grid])


def _run_blocks(
    params: Params, x: jax.Array, encoder: Encoder, *, forward: Forward, keys: jax.Array | None
) -> jax.Array:
    has_noise = keys is not None and forward.stochastic_depth > 0

    def block(x: jax.Array, one: Any) -> tuple[jax.Array, None]:
        params, key, drop = one
        params = gathered(params, forward.whole)
        key_attention, key_mlp = (None, None) if key is None else jax.random.split(key)
        attended = _self_attention(params, layer_norm(params["norm0"], x), encoder.heads)
        x = x + drop_branch(key_attention, attended, drop, batch_axis=0)
        return x + drop_branch(key_mlp, _mlp(params, layer_norm(params["norm1"], x)), drop, batch_axis=0), None

    body = jax.checkpoint(block, prevent_cse=False) if forward.remat else block
    noise = (keys, drop_rates(forward.stochastic_depth, encoder.depth)) if has_noise else (None, None)
    unroll = encoder.depth if encoder.depth <= UNROLLED_DEPTH else 1
    return jax.lax.scan(body, x, (params, *noise), unroll=unroll)[0]


def _block_layout(encoder: Encoder) -> Params:
    width = encoder.width
    return {
        "norm0": norm_layout(width),
        "read": dense_layout(width, 3 * width),
        "write": dense_layout(width, width),
        "norm1": norm_layout(width),
        **_mlp_layout(encoder),
    }


def _mlp_layout(encoder: Encoder) -> Params:
    std = math.sqrt(2 / (encoder.width + encoder.mlp_width))
    return {
        "expand": dense_layout(encoder.width, encoder.mlp_width, std=std),
        "contract": dense_layout(encoder.mlp_width, encoder.width, std=std),
    }


def _self_attention(params: Params, x: jax.Array, heads: int) -> jax.Array:
    queries, keys, values = jnp.split(dense(params["read"], x), 3, axis=-1)
    return dense(params["write"], _attend(queries, keys, values, heads))


def _pool(params: Params, x: jax.Array, encoder: Encoder) -> jax.Array:
    if encoder.pooling == "token":
        return x[:, 0]
    if encoder.pooling == "mean":
        return jnp.mean(x, axis=1)
    return _attention_pool(params["pool"], x, encoder.heads)


def _attention_pool(params: Params, x: jax.Array, heads: int) -> jax.Array:
    """Returns what one learned query reads of all tokens, and an MLP of it: (batch, width)."""
    query = jnp.broadcast_to(params["query"].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
    keys, values = jnp.split(dense(params["read_tokens"], x), 2, axis=-1)
    read = dense(params["write"], _attend(dense(params["read_query"], query), keys, values, heads))[:, 0]
    return read + _mlp(params, layer_norm(params["norm"], read))


def _attend(queries: jax.Array, keys: jax.Array, values: jax.Array, heads: int) -> jax.Array:
    """Returns softmax(q k / sqrt(width of a head)) v for each head; the softmax runs in float32."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1) for x in (queries, keys, values))
    scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores * q.shape[-1] ** -0.5, axis=-1).astype(v.dtype)
    return jnp.einsum("bhts,bshd->bthd", weights, v).reshape(queries.shape)


def _mlp(params: Params, x: jax.Array) -> jax.Array:
    return dense(params["contract"], jax.nn.gelu(dense(params["expand"], x)))
