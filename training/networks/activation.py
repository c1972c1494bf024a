"""GELU whose gradient keeps its input alone: on a CPU a second tanh costs less than reading one from memory."""

import math

import jax
import jax.numpy as jnp

_SLOPE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Returns x times the normal distribution function of x, in the tanh approximation (arXiv:1606.08415)."""
    return 0.5 * x * (1 + _tanh(x))


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _backward(x: jax.Array, to_y: jax.Array) -> tuple[jax.Array]:
    tanh = _tanh(x)
    slope = _SLOPE * (1 + 3 * _CUBIC * jnp.square(x))
    return (to_y * 0.5 * (1 + tanh + x * (1 - jnp.square(tanh)) * slope),)


gelu.defvjp(_forward, _backward)


def _tanh(x: jax.Array) -> jax.Array:
    return jnp.tanh(_SLOPE * x * (1 + _CUBIC * jnp.square(x)))
