import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.vit_shape import Encoder, ViTShape
from tests.training.gradient_check import assert_same_function, unsettled
from training.networks import vit
from training.networks.forward import Forward

PLAIN = Forward(path="im2col")
DEPTHS = {"unrolled": 2, "loop": vit.UNROLLED_DEPTH + 1}


def small(*, depth: int = 2, pooling: str = "token") -> ViTShape:
    """Returns a ViT of a few hundred numbers."""
    return ViTShape(patch_px=4, width=6, depth=depth, heads=2, mlp_width=8, pooling=pooling)


def fresh(shape: ViTShape, *, image_px: int = 12) -> Any:
    """Returns its parameters, all off their start."""
    return unsettled(vit.init(jax.random.key(3), shape, image_px=image_px, channels=2, classes=5), seed=4)


def pictures(batch: int = 3, px: int = 12) -> np.ndarray:
    """Returns random images."""
    return np.random.default_rng(5).normal(size=(batch, px, px, 2)).astype(np.float32)


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def norm(params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """LayerNorm over the last axis."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * params["gain"] + params["bias"]


def dense(params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """A matrix and a bias."""
    return np.einsum("...i,io->...o", x, params["weight"]) + params["bias"]


def attend(queries: np.ndarray, keys: np.ndarray, values: np.ndarray, heads: int) -> np.ndarray:
    """Attention of one image (tokens, width), head by head and query by query."""
    size = queries.shape[1] // heads
    out = np.zeros_like(queries)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for index, query in enumerate(queries[:, part]):
            scores = keys[:, part] @ query / math.sqrt(size)
            weights = np.exp(scores - scores.max())
            out[index, part] = weights @ values[:, part] / weights.sum()
    return out


def mlp(params: Any, x: np.ndarray) -> np.ndarray:
    """Up, GELU, down."""
    return dense(params["contract"], gelu(dense(params["expand"], x)))


def reference_encode(params: Any, tokens: np.ndarray, encoder: Encoder) -> np.ndarray:
    """The transformer as arXiv:2010.11929 eq. 1 to 4 has it, for the tokens (count, width) of one image."""
    if encoder.pooling == "token":
        tokens = np.concatenate([params["token"][None], tokens])
    x = tokens + params["positions"]
    width = encoder.width
    for index in range(encoder.depth):
        block = jax.tree.map(lambda leaf, index=index: leaf[index], params["blocks"]["stacked"])
        read = dense(block["read"], norm(block["norm0"], x))
        q, k, v = read[:, :width], read[:, width : 2 * width], read[:, 2 * width :]
        x = x + dense(block["write"], attend(q, k, v, encoder.heads))
        x = x + mlp(block, norm(block["norm1"], x))
    x = norm(params["norm"], x)
    if encoder.pooling == "token":
        return x[0]
    if encoder.pooling == "mean":
        return x.mean(axis=0)
    pool = params["pool"]
    read = dense(pool["read_tokens"], x)
    query = dense(pool["read_query"], pool["query"][None])
    attended = dense(pool["write"], attend(query, read[:, :width], read[:, width:], encoder.heads))[0]
    return attended + mlp(pool, norm(pool["norm"], attended))


def reference_logits(params: Any, images: np.ndarray, shape: ViTShape) -> np.ndarray:
    """The whole network, image by image and patch by patch."""
    size, logits = shape.patch_px, []
    for image in images:
        corners = [(i * size, j * size) for i in range(len(image) // size) for j in range(len(image) // size)]
        patches = np.stack([image[i : i + size, j : j + size].reshape(-1) for i, j in corners])
        features = reference_encode(params["encoder"], dense(params["embed"], patches), shape.encoder)
        logits.append(dense(params["classifier"], features))
    return np.stack(logits)


@pytest.mark.parametrize("depth", DEPTHS.values(), ids=DEPTHS)
@pytest.mark.parametrize("pooling", ["token", "map", "mean"])
def test_the_model_is_the_one_that_the_papers_describe(pooling: str, depth: int) -> None:
    """Logits and every gradient agree with an independent implementation to float32 accuracy."""
    shape = small(depth=depth, pooling=pooling)
    assert_same_function(
        lambda params, images: vit.apply(params, images, shape, forward=PLAIN),
        lambda params, images: reference_logits(params, images, shape),
        fresh(shape),
        pictures(),
    )


def test_a_rest_at_the_edge_is_not_seen() -> None:
    """An image of three patches and two pixels gives the logits of its three patches."""
    shape = small()
    params, images = fresh(shape), pictures(px=14)
    whole = vit.apply(params, jnp.asarray(images), shape, forward=PLAIN)
    cut = vit.apply(params, jnp.asarray(images[:, :12, :12]), shape, forward=PLAIN)
    np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_positions_of_a_larger_image_are_the_table_resized(pooling: str) -> None:
    """Of a table that is linear in place the resized one is linear too; the class token keeps its position.

    A grid of twice the side puts its places a quarter of a step off those of the table.
    """
    shape = small(depth=1, pooling=pooling)
    has_token = pooling == "token"
    rows, columns = np.meshgrid(np.arange(3.0), np.arange(3.0), indexing="ij")
    grid = np.stack([rows, columns], axis=-1).reshape(9, 2).astype(np.float32)
    table = jnp.asarray(np.concatenate([np.full((1, 2), 7.0, np.float32), grid]) if has_token else grid)
    got = np.asarray(vit._positions(table, 6, 6, has_token=has_token))
    if has_token:
        np.testing.assert_array_equal(got[0], [7.0, 7.0])
    of_grid = got[int(has_token) :].reshape(6, 6, 2)
    along = np.clip(np.arange(6) / 2 - 0.25, 0, 2)
    np.testing.assert_allclose(of_grid[:, 0, 0], along, atol=1e-6)
    np.testing.assert_allclose(of_grid[0, :, 1], along, atol=1e-6)
    params = fresh(shape)
    assert vit.apply(params, jnp.asarray(pictures(px=24)), shape, forward=PLAIN).shape == (3, 5)


def test_positions_of_the_training_size_are_the_table_itself() -> None:
    """Nothing is resized where nothing needs to be."""
    table = jnp.asarray(np.random.default_rng(6).normal(size=(10, 4)), jnp.float32)
    np.testing.assert_array_equal(vit._positions(table, 3, 3, has_token=True), table)


def test_pooling_by_mean_without_positions_sees_a_set() -> None:
    """With equal positions the order of patches is of no account, which no convolution could say."""
    shape = small(pooling="mean")
    params = fresh(shape)
    params["encoder"]["positions"][:] = params["encoder"]["positions"][0]
    images = pictures(px=12)
    turned = np.concatenate([images[:, 8:], images[:, :8]], axis=1)
    before, after = (vit.apply(params, jnp.asarray(x), shape, forward=PLAIN) for x in (images, turned))
    np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-5)
