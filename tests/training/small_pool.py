"""Sixteen images in memory with soft targets, and a vision transformer that compiles fast."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.vit_shape import ViTShape
from tests.training.small_nets import PARTS, changed
from training.networks import families
from training.networks.forward import Forward
from training.source import Source

TOKENS = ViTShape(patch_px=4, width=8, depth=2, heads=2, mlp_width=8, pooling="mean")
DATA = changed(PARTS, name="pool", image_px=8, classes=5)
_RNG = np.random.default_rng(0)
IMAGES = _RNG.normal(size=(16, 8, 8, 3)).astype(np.float32)
TARGETS = _RNG.dirichlet(np.ones(5), 16).astype(np.float32)
POOL = (IMAGES, TARGETS)


def pool() -> Source:
    """The images by index, over and over again."""

    def draw(arrays: Any, indices: jax.Array, stream: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(arrays[0])[indices % 16], jnp.asarray(arrays[1])[indices % 16]

    def order(seed: int, first: int, count: int) -> np.ndarray:
        return np.arange(first, first + count, dtype=np.uint32)

    return Source(arrays=POOL, draw=draw, draw_held_out=draw, order=order)


@functools.cache
def sharp_params() -> Any:
    """Weights whose outputs are far from uniform, as NumPy arrays: they may be asked for within a trace."""
    with jax.ensure_compile_time_eval():
        fresh = families.init(jax.random.key(0), TOKENS, image_px=8, channels=3, classes=5, skip_init=0.0)
        sharp = {**fresh, "classifier": jax.tree.map(lambda leaf: leaf * 50, fresh["classifier"])}
        return jax.tree.map(np.asarray, sharp)


@jax.jit
def logits_of(params: Any, images: jax.Array) -> jax.Array:
    """What the transformer makes of images, without noise."""
    return families.apply(params, images, TOKENS, forward=Forward(path="xla"))


def assert_close(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """The trees agree to a part of their largest numbers."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max() + 1e-9), got, expected)
