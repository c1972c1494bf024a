import jax
import jax.numpy as jnp
import numpy as np

from training.networks.activation import gelu

X = jnp.linspace(-8, 8, 401, dtype=jnp.float32)


def test_gelu_and_its_slope_are_jax_s() -> None:
    """The same function and derivative over the range in which it bends, in float32."""
    value, pull = jax.vjp(gelu, X)
    expected, pull_expected = jax.vjp(jax.nn.gelu, X)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(pull(jnp.sin(X))[0], pull_expected(jnp.sin(X))[0], rtol=1e-5, atol=1e-5)


def test_gelu_keeps_the_number_format() -> None:
    """bfloat16 in gives bfloat16 out, forward and backward."""
    value, pull = jax.vjp(gelu, X.astype(jnp.bfloat16))
    assert value.dtype == pull(value)[0].dtype == jnp.bfloat16
