"""Whether a network and its gradient are those of a reference written in NumPy and float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STEP = 1e-5
"""Of the central differences; in float64 their error is near 1e-10."""


def unsettled(params: Any, *, seed: int) -> Any:
    """Returns the parameters with every one of them off its start, so that none can hide behind a zero or a one."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.asarray(leaf) + 0.2 * rng.normal(size=leaf.shape).astype(np.float32), params)


def assert_same_function(
    apply: Callable[[Any, jax.Array], jax.Array],
    reference: Callable[[Any, np.ndarray], np.ndarray],
    params: Any,
    images: np.ndarray,
) -> None:
    """Compares logits, and along one random direction for each leaf the derivative of a random sum of them."""
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    expected = reference(exact, images.astype(np.float64))
    rng = np.random.default_rng(1)
    mix = rng.normal(size=expected.shape)

    @jax.jit
    def slopes(params: Any, images: jax.Array) -> Any:
        logits, pull = jax.vjp(lambda p: apply(p, images), params)
        return logits, pull(jnp.asarray(mix, jnp.float32))[0]

    logits, gradient = slopes(params, jnp.asarray(images))
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-5)
    leaves, tree = jax.tree.flatten_with_path(exact)
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    for index, (path, leaf) in enumerate(leaves):
        direction = rng.normal(size=leaf.shape)
        direction /= np.linalg.norm(direction)

        def mixed(length: float, index: int = index, direction: np.ndarray = direction) -> float:
            moved = [value + length * direction if place == index else value for place, (_, value) in enumerate(leaves)]
            return float(np.sum(reference(tree.unflatten(moved), images.astype(np.float64)) * mix))

        slope = (mixed(STEP) - mixed(-STEP)) / (2 * STEP)
        got = float(np.sum(np.asarray(jax.tree.leaves(gradient)[index], np.float64) * direction))
        np.testing.assert_allclose(got, slope, rtol=1e-3, atol=2e-5 * scale, err_msg=jax.tree_util.keystr(path))
