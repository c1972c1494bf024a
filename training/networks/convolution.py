"""Convolutions with two equal paths: XLA's own for accelerators, and one put together from what is fast on CPUs.

Images are (channels, height, width, batch) here: with the batch innermost every slice and every elementwise loop runs
over long contiguous rows, which on a CPU makes small nets 1.6 times faster than channels innermost. Accelerators
choose their own physical layout.

On a CPU XLA is fast at matrix products and at the forward pass of an ungrouped convolution of many channels, channels
innermost; its gradients to weights, and all that is grouped, are slow. So the rule of the path "im2col" is:

- groups are convolutions of their own, side by side;
- a 1x1 convolution is a matrix product, of every stride-th pixel;
- any other of fewer than NATIVE_FROM_CHANNELS channels, in or out, is im2col: the columns that the taps of the kernel
  see, times the weights; its gradients are JAX's own, which keep the columns;
- from there on it runs forward as XLA's own, and its gradients are matrix products over columns made anew from the
  images: to the weights one product for each row of the kernel, so that a third of the columns of a 3x3 kernel exists
  at a time; to the images one product for all.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

NATIVE_FROM_CHANNELS = 16
"""Channels of a group, in and out, from which XLA's own forward pass is faster than im2col."""


def convolve(x: jax.Array, weight: jax.Array, *, stride: int = 1, groups: int = 1, path: str) -> jax.Array:
    """Returns the SAME convolution of `x` (channels, height, width, batch) with `weight` (kh, kw, in/groups, out).

    Args:
        path: "xla" or "im2col"; both give the same numbers to rounding.
    """
    if path == "xla":
        return lax.conv_general_dilated(
            x,
            weight,
            (stride, stride),
            "SAME",
            dimension_numbers=("CHWN", "HWIO", "CHWN"),
            feature_group_count=groups,
        )
    if path == "im2col":
        if groups == 1:
            return _ungrouped(x, weight, stride)
        # split, not slices: its gradient is one concatenation, theirs a sum of arrays padded to full size
        images = lax.split(x, [x.shape[0] // groups] * groups, axis=0)
        weights = lax.split(weight, [weight.shape[3] // groups] * groups, axis=3)
        return jnp.concatenate([_ungrouped(*pair, stride) for pair in zip(images, weights, strict=True)])
    raise ValueError(f"convolution path {path!r} is unknown; it is xla or im2col")


def fast_path() -> str:
    """Returns the faster path on this process's default device."""
    return "im2col" if jax.default_backend() == "cpu" else "xla"


def _ungrouped(x: jax.Array, weight: jax.Array, stride: int) -> jax.Array:
    kernel_h, kernel_w, channels, out = weight.shape
    if kernel_h == kernel_w == 1:
        columns = x[:, ::stride, ::stride]
    elif min(channels, out) < NATIVE_FROM_CHANNELS:
        columns = jnp.concatenate(_seen_by_taps(x, kernel_h, kernel_w, stride))
    else:
        return _wide(x, weight, stride)
    return (weight.reshape(-1, out).T @ _flat(columns)).reshape(out, *columns.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _wide(x: jax.Array, weight: jax.Array, stride: int) -> jax.Array:
    """Returns a convolution of many channels; channels go innermost, where XLA's own is fast."""
    y = lax.conv_general_dilated(
        jnp.transpose(x, (3, 1, 2, 0)),
        weight,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jnp.transpose(y, (3, 1, 2, 0))


def _wide_forward(x: jax.Array, weight: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _wide(x, weight, stride), (x, weight)


def _wide_backward(stride: int, inputs: tuple[jax.Array, jax.Array], to_y: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weight = inputs
    kernel_h, kernel_w, channels, out = weight.shape
    taps, add_up = jax.vjp(lambda x: _seen_by_taps(x, kernel_h, kernel_w, stride), x)
    to_pixels = _flat(to_y)
    rows = [_flat(jnp.concatenate(taps[i : i + kernel_w])) for i in range(0, len(taps), kernel_w)]
    to_weight = jnp.concatenate([row @ to_pixels.T for row in rows]).reshape(weight.shape)
    to_taps = (weight.reshape(-1, out) @ to_pixels).reshape(len(taps), channels, *to_y.shape[1:])
    (to_x,) = add_up(list(to_taps))
    return to_x, to_weight


_wide.defvjp(_wide_forward, _wide_backward)


def _seen_by_taps(x: jax.Array, kernel_h: int, kernel_w: int, stride: int) -> list[jax.Array]:
    """Returns what each tap of the kernel sees, row by row, each (channels, out height, out width, batch)."""
    _, height, width, _ = x.shape
    out_h, out_w = -(-height // stride), -(-width // stride)
    pad_h = max((out_h - 1) * stride + kernel_h - height, 0)
    pad_w = max((out_w - 1) * stride + kernel_w - width, 0)
    x = jnp.pad(x, ((0, 0), (pad_h // 2, pad_h - pad_h // 2), (pad_w // 2, pad_w - pad_w // 2), (0, 0)))
    span_h, span_w = (out_h - 1) * stride + 1, (out_w - 1) * stride + 1
    return [x[:, i : i + span_h : stride, j : j + span_w : stride] for i in range(kernel_h) for j in range(kernel_w)]


def _flat(x: jax.Array) -> jax.Array:
    """Returns `x` as one row of pixels for each channel."""
    return x.reshape(x.shape[0], -1)
