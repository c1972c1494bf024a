import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.separable_shape import SeparableShape
from tests.training.gradient_check import assert_same_function, unsettled
from tests.training.networks.test_convolution import naive
from tests.training.networks.test_vit import dense, gelu, norm
from training.networks import separable
from training.networks.forward import Forward

SHAPES = {
    "one stage": SeparableShape(stage_depths=(2,), stage_widths=(4,), kernel_px=3, stem_px=2),
    "three stages": SeparableShape(stage_depths=(1, 2, 1), stage_widths=(3, 4, 5), kernel_px=3, stem_px=2, expansion=2),
    "kernel larger than the image": SeparableShape(stage_depths=(1, 1), stage_widths=(3, 4), kernel_px=5, stem_px=3),
}


def fresh(shape: SeparableShape) -> Any:
    """Returns its parameters, all off their start."""
    init = functools.partial(separable.init, shape=shape, image_px=12, channels=2, classes=5, skip_init=0.5)
    return unsettled(jax.jit(init)(jax.random.key(3)), seed=4)


def pictures(px: int = 12) -> np.ndarray:
    """Returns random images."""
    return np.random.default_rng(5).normal(size=(3, px, px, 2)).astype(np.float32)


def enter(params: Any, x: np.ndarray, size: int) -> np.ndarray:
    """A convolution whose stride is its kernel, patch by patch; images (batch, height, width, channels)."""
    batch, side = len(x), x.shape[1] // size
    out = np.zeros((batch, side, side, len(params["bias"])))
    for i in range(side):
        for j in range(side):
            patch = x[:, i * size : (i + 1) * size, j * size : (j + 1) * size]
            out[:, i, j] = dense(params, patch.reshape(batch, -1))
    return out


def reference_logits(params: Any, images: np.ndarray, shape: SeparableShape) -> np.ndarray:
    """ConvNeXt as arXiv:2201.03545 sec. 2 describes it, written once more in NumPy and float64, channels last."""
    x = images
    for index, (stage, depth) in enumerate(zip(params["stages"], shape.stage_depths, strict=True)):
        if index == 0:
            x = norm(stage["norm"], enter(stage["entry"], x, shape.stem_px))
        else:
            x = enter(stage["entry"], norm(stage["norm"], x), 2)
        for place in range(depth):
            block = jax.tree.map(lambda leaf, place=place: leaf[place], stage["blocks"]["stacked"])
            groups = x.shape[-1]
            spread = naive(x.transpose(3, 1, 2, 0), block["depthwise"]["weight"], 1, groups).transpose(3, 1, 2, 0)
            branch = norm(block["norm"], spread + block["depthwise"]["bias"])
            x = x + block["scale"] * dense(block["contract"], gelu(dense(block["expand"], branch)))
    return dense(params["classifier"], norm(params["norm"], x.mean(axis=(1, 2))))


@pytest.mark.parametrize("path", ["xla", "im2col"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_model_is_the_one_that_the_paper_describes(name: str, path: str) -> None:
    """Logits and every gradient agree with an independent implementation to float32 accuracy, on both paths."""
    shape = SHAPES[name]
    assert_same_function(
        lambda params, images: separable.apply(params, images, shape, forward=Forward(path=path)),
        lambda params, images: reference_logits(params, images, shape),
        fresh(shape),
        pictures(),
    )


@pytest.mark.parametrize("kernel_px", [1, 3, 5, 7])
@pytest.mark.parametrize("px", [1, 4, 9])
def test_the_two_paths_of_a_depthwise_convolution_agree(kernel_px: int, px: int) -> None:
    """Sums over shifted images are XLA's convolution, and so are the gradients by image and kernel."""
    rng = np.random.default_rng(7)
    x = jnp.asarray(rng.normal(size=(3, px, px, 2)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(kernel_px, kernel_px, 1, 3)), jnp.float32)
    mix = jnp.asarray(rng.normal(size=x.shape), jnp.float32)

    def mixed(path: str) -> Any:
        return jax.value_and_grad(lambda x, w: jnp.sum(separable.depthwise(x, w, path=path) * mix), argnums=(0, 1))

    for got, expected in zip(
        jax.tree.leaves(mixed("im2col")(x, weight)), jax.tree.leaves(mixed("xla")(x, weight)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_path_is_refused() -> None:
    """A misspelt path is no silent default."""
    with pytest.raises(ValueError, match="it is xla or im2col"):
        separable.depthwise(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)), path="fast")


def test_a_layer_scale_of_zero_silences_the_blocks() -> None:
    """With skip_init 0 the blocks pass their input alone."""
    shape = SHAPES["three stages"]
    params = separable.init(jax.random.key(1), shape, image_px=12, channels=2, classes=5, skip_init=0.0)
    before = separable.apply(params, jnp.asarray(pictures()), shape, forward=Forward(path="im2col"))
    for stage in params["stages"]:
        stage["blocks"]["stacked"]["contract"]["bias"] += 1.0
    after = separable.apply(params, jnp.asarray(pictures()), shape, forward=Forward(path="im2col"))
    np.testing.assert_array_equal(before, after)
