"""Scaled weight standardisation for CPUs: as XLA derives its gradient, it costs there as much as the convolutions.

The gradient is that of the plain formula. What makes it fast on CPUs is how it is added up: over (fan-in, out) in two
dimensions, a few rows at a time within one elementwise loop, with nothing of the weights' size kept or stored between.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

VARIANCE_FLOOR = 1e-4
"""Of the variance times the fan-in, as in the authors' code."""
_ROWS_AT_ONCE = 8

_Kept = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


@jax.custom_vjp
def standardise_by_rows(weight: jax.Array, gain: jax.Array) -> jax.Array:
    """Returns `weight` (kh, kw, in, out) with zero mean and variance gain^2 / fan_in per output unit.

    arXiv:2101.08692 eq. 2, with the floor of the authors' code.
    """
    return _forward(weight, gain)[0]


def _forward(weight: jax.Array, gain: jax.Array) -> tuple[jax.Array, _Kept]:
    rows = _as_rows(weight)
    mean = _sums(lambda w: w, rows) / len(rows)
    square_sum = _sums(lambda w: jnp.square(w - mean), rows)  # the variance times the fan-in
    scale = gain * jax.lax.rsqrt(jnp.maximum(square_sum, VARIANCE_FLOOR))
    return (scale * (rows - mean)).reshape(weight.shape), (weight, gain, mean, square_sum)


def _backward(kept: _Kept, to_result: jax.Array) -> tuple[jax.Array, jax.Array]:
    weight, gain, mean, square_sum = kept
    rows, to_rows = _as_rows(weight), _as_rows(to_result)
    inverse = jax.lax.rsqrt(jnp.maximum(square_sum, VARIANCE_FLOOR))
    total = _sums(lambda g: g, to_rows)
    along = _sums(jnp.multiply, to_rows, rows) - mean * total
    # Where the floor holds, the norm of the weights is not taken out, and a gradient along them passes.
    taken_out = jnp.where(square_sum > VARIANCE_FLOOR, jnp.square(inverse) * along, 0.0)
    scale = gain * inverse
    to_weight = scale * to_rows - scale * taken_out * rows + scale * (taken_out * mean - total / len(rows))
    return to_weight.reshape(weight.shape), inverse * along


standardise_by_rows.defvjp(_forward, _backward)


def _as_rows(weight: jax.Array) -> jax.Array:
    return weight.reshape(-1, weight.shape[-1])


def _sums(term: Callable[..., jax.Array], *rows: jax.Array) -> jax.Array:
    """Returns the sums over rows of `term`, which is computed elementwise."""
    count = rows[0].shape[0]
    if count % _ROWS_AT_ONCE:
        return jnp.sum(term(*rows), axis=0)
    blocks = [array.reshape(count // _ROWS_AT_ONCE, _ROWS_AT_ONCE, -1) for array in rows]
    partial = term(*(block[:, 0] for block in blocks))
    for i in range(1, _ROWS_AT_ONCE):
        partial = partial + term(*(block[:, i] for block in blocks))
    return jnp.ones(len(partial), partial.dtype) @ partial
