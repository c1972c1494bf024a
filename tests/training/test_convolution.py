import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from training.convolution import convolve, fast_path

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


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 2)])
def test_both_paths_have_the_same_gradients(stride: int, groups: int) -> None:
    """The gradients to images and weights do not depend on the path."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 8, 8, 3)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(3, 3, 4 // groups, 6)), jnp.float32)

    def loss(path: str, x: jax.Array, weight: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(convolve(x, weight, stride=stride, groups=groups, path=path)))

    xla, im2col = (jax.grad(loss, argnums=(1, 2))(path, x, weight) for path in ("xla", "im2col"))
    for a, b in zip(xla, im2col, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_an_unknown_path_is_refused_with_the_two_that_exist() -> None:
    """A misspelt path names what is allowed."""
    with pytest.raises(ValueError, match="xla or im2col"):
        convolve(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)), path="fft")


def test_cpus_take_the_matmul_path() -> None:
    """The fast path follows the device that JAX runs on."""
    assert fast_path() == ("im2col" if jax.default_backend() == "cpu" else "xla")
