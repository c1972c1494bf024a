"""Convolutions with two equal paths: XLA's own for accelerators, im2col + matmul for CPUs.

Images are (channels, height, width, batch) here: with the batch innermost every slice and every elementwise loop runs
over long contiguous rows, which on a CPU makes small nets 1.6 times faster than channels innermost. Accelerators
choose their own physical layout. XLA's weight gradient of a convolution is slow on CPUs; as matrix products the largest
of the scale models trains 6 times faster at the same losses, the smallest 1.2 times (benchmarks/conv_paths.py).
"""

import jax
import jax.numpy as jnp
from jax import lax


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
        return _as_matmul(x, weight, stride=stride, groups=groups)
    raise ValueError(f"convolution path {path!r} is unknown; it is xla or im2col")


def fast_path() -> str:
    """Returns the faster path on this process's default device."""
    return "im2col" if jax.default_backend() == "cpu" else "xla"


def _as_matmul(x: jax.Array, weight: jax.Array, *, stride: int, groups: int) -> jax.Array:
    kernel_h, kernel_w, group_in, out = weight.shape
    columns = _columns(x, kernel_h, kernel_w, stride)
    taps, channels, *place = columns.shape
    if groups == 1:
        y = weight.reshape(taps * channels, out).T @ columns.reshape(taps * channels, -1)
    else:
        columns = columns.reshape(taps, groups, group_in, -1)
        grouped = weight.reshape(taps, group_in, groups, out // groups)
        y = jnp.einsum("tigo,tgin->gon", grouped, columns)
    return y.reshape(out, *place)


def _columns(x: jax.Array, kernel_h: int, kernel_w: int, stride: int) -> jax.Array:
    """Returns what each kernel tap sees, shape (kh * kw, channels, out height, out width, batch)."""
    _, height, width, _ = x.shape
    if kernel_h == kernel_w == 1:
        return x[None, :, ::stride, ::stride]
    out_h, out_w = -(-height // stride), -(-width // stride)
    pad_h = max((out_h - 1) * stride + kernel_h - height, 0)
    pad_w = max((out_w - 1) * stride + kernel_w - width, 0)
    x = jnp.pad(x, ((0, 0), (pad_h // 2, pad_h - pad_h // 2), (pad_w // 2, pad_w - pad_w // 2), (0, 0)))
    span_h, span_w = (out_h - 1) * stride + 1, (out_w - 1) * stride + 1
    taps = [x[:, i : i + span_h : stride, j : j + span_w : stride] for i in range(kernel_h) for j in range(kernel_w)]
    return jnp.stack(taps)
