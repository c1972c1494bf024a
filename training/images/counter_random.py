"""Random numbers by counting: the same (stream, index) gives the same numbers on every machine, in any order."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def hashed(indices: jax.Array, stream: jax.Array) -> jax.Array:
    """Returns a uint32 seed for each index (batch,) of a stream; distinct indices of a stream never share one."""
    return _mix(indices) ^ _mix(stream + jnp.uint32(0x68E31DA4))


def uniform(seeds: jax.Array, count: int) -> jax.Array:
    """Returns `count` uniforms in [0, 1) for each seed, shape (batch, count)."""
    counter = jnp.arange(count, dtype=jnp.uint32) * jnp.uint32(0x85EBCA6B)
    mixed = _mix(_mix(seeds)[:, None] + counter[None, :])
    return (mixed >> 8).astype(jnp.float32) * np.float32(2.0**-24)


def standardised(chance: jax.Array) -> jax.Array:
    """Returns uniforms shifted and scaled to mean 0 and variance 1."""
    return (chance - 0.5) * np.float32(math.sqrt(12.0))


def _mix(x: jax.Array) -> jax.Array:
    """Returns the integer hash `lowbias32`, found by C. Wellons (2018, public domain)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
