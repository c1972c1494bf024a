import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.networks.convolution import NATIVE_FROM_CHANNELS, convolve, fast_path

CASES = list(itertools.product((1, 3), (1, 2), (1, 2), (7, 8)))


def naive(x: np.ndarray, weight: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """The definition of a SAME convolution, in loops, for x (channels, height, width, batch)."""
    kernel, _, group_in, out = weight.shape
    _, height, width, batch = x.shape
    out_h, out_w = -(-height // stride), -(-width // stride)
    pad = max((out_h - 1) * stride + kernel - height, 0)
    padded = np.pad(x, ((0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)))
    y = np.zeros((out, out_h, out_w, batch))
    for o, row, column in itertools.product(range(out), range(out_h), range(out_w)):
        group = o // (out // groups)
        seen = padded[
            group * group_in : (group + 1) * group_in,
            row * stride : row * stride + kernel,
            column * stride : column * stride + kernel,
        ]
        y[o, row, column] = np.einsum("cijb,ijc->b", seen, weight[..., o])
    return y


@pytest.mark.parametrize("path", ["xla", "im2col"])
@pytest.mark.parametrize(("kernel", "stride", "groups", "px"), CASES)
def test_both_paths_follow_the_definition(path: str, kernel: int, stride: int, groups: int, px: int) -> None:
    """A convolution equals the sum over taps that defines it, at odd and even sizes."""
    rng = np.random.default_rng(kernel * 100 + stride * 10 + groups)
    x = rng.normal(size=(4, px, px, 3)).astype(np.float32)
    weight = rng.normal(size=(kernel, kernel, 4 // groups, 6)).astype(np.float32)
    got = convolve(jnp.asarray(x), jnp.asarray(weight), stride=stride, groups=groups, path=path)
    np.testing.assert_allclose(got, naive(x, weight, stride, groups), rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1)]),
    stride=st.integers(1, 3),
    groups=st.integers(1, 3),
    widths=st.sampled_from([(1, 1), (2, 3), (NATIVE_FROM_CHANNELS, NATIVE_FROM_CHANNELS + 1)]),
    px=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    batch=st.integers(1, 3),
)
def test_both_paths_have_the_same_values_and_gradients(
    kernel: tuple[int, int], stride: int, groups: int, widths: tuple[int, int], px: tuple[int, int], batch: int
) -> None:
    """Nothing depends on the path, at any kernel, stride and groups, odd sizes, few channels and many."""
    group_in, group_out = widths
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(group_in * groups, *px, batch)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(*kernel, group_in, group_out * groups)), jnp.float32)

    def pulled_back(path: str) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(lambda x, w: convolve(x, w, stride=stride, groups=groups, path=path), x, weight)
        return y, *pull(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    for got, expected in zip(pulled_back("im2col"), pulled_back("xla"), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(jnp.max(jnp.abs(expected)))))


def test_an_unknown_path_is_refused_with_the_two_that_exist() -> None:
    """A misspelt path names what is allowed."""
    with pytest.raises(ValueError, match="xla or im2col"):
        convolve(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)), path="fft")


def test_cpus_take_the_matmul_path() -> None:
    """The fast path follows the device that JAX runs on."""
    assert fast_path() == ("im2col" if jax.default_backend() == "cpu" else "xla")
