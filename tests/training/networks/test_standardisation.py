import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.networks import nfnet
from training.networks.standardisation import standardise_by_rows


@settings(max_examples=10, deadline=None)
@given(
    kernel=st.sampled_from([1, 3]),
    group_in=st.sampled_from([3, 8, 16]),
    out=st.integers(1, 5),
    spread=st.sampled_from([1e-4, 0.1, 3.0]),
    offset=st.sampled_from([0.0, 0.3]),
)
def test_values_and_gradients_are_those_of_the_plain_formula(
    kernel: int, group_in: int, out: int, spread: float, offset: float
) -> None:
    """Also where the floor holds (the smallest spread) and where rows are no multiple of a block."""
    rng = np.random.default_rng(out)
    shape = (kernel, kernel, group_in, out)
    weight = jnp.asarray(spread * (rng.normal(size=shape) + offset), jnp.float32)
    gain, to_result = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (out, shape))
    expected, pull = jax.vjp(nfnet.standardise, weight, gain)
    got, pull_fast = jax.vjp(standardise_by_rows, weight, gain)
    for fast, plain in zip((got, *pull_fast(to_result)), (expected, *pull(to_result)), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5 * float(jnp.max(jnp.abs(plain))))
