from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.hybrid_shape import HybridShape
from tests.training.gradient_check import assert_same_function, unsettled
from tests.training.networks.test_convolution import naive
from tests.training.networks.test_vit import dense, gelu, norm, reference_encode
from training.networks import hybrid
from training.networks.forward import Forward

SHAPES = {
    "token": HybridShape(stem_widths=(3, 4), stem_strides=(2, 2), width=6, depth=1, heads=2, mlp_width=8),
    "mean": HybridShape(
        stem_widths=(3, 4, 4), stem_strides=(2, 1, 2), width=4, depth=2, heads=1, mlp_width=6, pooling="mean"
    ),
}


def reference_logits(params: Any, images: np.ndarray, shape: HybridShape) -> np.ndarray:
    """Convolutions, LayerNorm over channels and GELU, then the transformer, in NumPy and float64."""
    x = images
    for conv, stride in zip(params["stem"], shape.stem_strides, strict=True):
        convolved = naive(x.transpose(3, 1, 2, 0), conv["weight"], stride, 1).transpose(3, 1, 2, 0)
        x = gelu(norm(conv["norm"], convolved))
    tokens = dense(params["embed"], x).reshape(len(x), -1, shape.width)
    features = np.stack([reference_encode(params["encoder"], image, shape.encoder) for image in tokens])
    return dense(params["classifier"], features)


@pytest.mark.parametrize("path", ["xla", "im2col"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_model_is_a_vit_behind_convolutions(name: str, path: str) -> None:
    """Logits and every gradient agree with an independent implementation to float32 accuracy, on both paths."""
    shape = SHAPES[name]
    params = hybrid.init(jax.random.key(3), shape, image_px=12, channels=2, classes=5)
    images = np.random.default_rng(5).normal(size=(3, 12, 12, 2)).astype(np.float32)
    assert_same_function(
        lambda params, images: hybrid.apply(params, images, shape, forward=Forward(path=path)),
        lambda params, images: reference_logits(params, images, shape),
        unsettled(params, seed=4),
        images,
    )


def test_larger_images_take_the_table_resized() -> None:
    """A network trained at 12 px answers at 20 px."""
    shape = SHAPES["token"]
    params = hybrid.init(jax.random.key(3), shape, image_px=12, channels=2, classes=5)
    logits = hybrid.apply(params, jnp.ones((2, 20, 20, 2)), shape, forward=Forward(path="im2col"))
    assert logits.shape == (2, 5)
