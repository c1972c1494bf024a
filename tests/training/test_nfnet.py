import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from sweeps.canonical import from_jsonable
from sweeps.nfnet_shape import NFNetShape
from sweeps.study import Model
from tests.training.small_nets import SHAPES, SMALL
from tests.training.test_convolution import naive
from training import nfnet
from training.forward import Forward

IM2COL = Forward(path="im2col")
CONF = Path(__file__).resolve().parents[2] / "conf" / "model"


def sizes(shape: NFNetShape, classes: int, channels: int = 3) -> int:
    """Counts the parameters of the model without making them."""
    tree = jax.eval_shape(
        lambda key: nfnet.init(key, shape, channels=channels, classes=classes, skip_init=0.0), jax.random.key(0)
    )
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
@pytest.mark.parametrize("classes", [1000, 30_000])
def test_every_shape_in_conf_counts_the_parameters_of_the_real_model(file: Path, classes: int) -> None:
    """The closed form that plans are priced with equals the model that is trained, exactly."""
    model = from_jsonable(Model, yaml.safe_load(file.read_text()))
    assert model.shape.params(classes=classes, channels=3) == sizes(model.shape, classes)


@pytest.mark.parametrize("name", SHAPES)
def test_the_two_paths_give_the_same_logits(name: str) -> None:
    """A whole network does not depend on how its convolutions are computed."""
    shape = SHAPES[name]
    params = nfnet.init(jax.random.key(1), shape, channels=3, classes=5, skip_init=0.5)
    images = jax.random.normal(jax.random.key(2), (4, 16, 16, 3))
    xla, im2col = (nfnet.apply(params, images, shape, forward=Forward(path=path)) for path in ("xla", "im2col"))
    np.testing.assert_allclose(xla, im2col, rtol=1e-4, atol=1e-5)


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form, times its gain."""
    return 1.7015 * 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def conv(params: dict[str, np.ndarray], x: np.ndarray, stride: int = 1, groups: int = 1) -> np.ndarray:
    """A convolution with standardised weights."""
    weight = params["weight"].astype(np.float64)
    fan_in = np.prod(weight.shape[:3])
    variance = weight.var(axis=(0, 1, 2))
    scale = params["gain"] / np.sqrt(np.maximum(variance * fan_in, 1e-4))
    standardised = (weight - weight.mean(axis=(0, 1, 2))) * scale
    return naive(x, standardised, stride, groups) + params["bias"][:, None, None, None]


def reference_logits(params: dict, images: np.ndarray, shape: NFNetShape) -> np.ndarray:  # type: ignore[type-arg]
    """The network as section 4 of the reference describes it, written once more in NumPy and float64."""
    x = images.transpose(3, 1, 2, 0)
    for index, stem in enumerate(params["stem"]):
        x = conv(stem, gelu(x) if index else x, shape.stem_strides[index])
    position, expected_std = 0, 1.0
    for stage, depth in enumerate(shape.stage_depths):
        for index in range(depth):
            block = params["blocks"][position]
            stride = shape.stage_strides[stage] if index == 0 else 1
            h = gelu(x) / expected_std
            shortcut = x
            if index == 0:
                c, height, width, batch = h.shape
                pooled = h.reshape(c, height // stride, stride, width // stride, stride, batch).mean(axis=(2, 4))
                shortcut = conv(block["shortcut"], pooled)
                expected_std = 1.0
            out = conv(block["reduce"], h)
            out = conv(block["grouped0"], gelu(out), stride, shape.groups(stage))
            out = conv(block["grouped1"], gelu(out), 1, shape.groups(stage))
            out = conv(block["expand"], gelu(out))
            squeezed = out.mean(axis=(1, 2)).T @ block["squeeze"]["weight"] + block["squeeze"]["bias"]
            gate = np.maximum(squeezed, 0) @ block["excite"]["weight"] + block["excite"]["bias"]
            out = out * 2 / (1 + np.exp(-gate.T[:, None, None, :]))
            x = shortcut + 0.2 * block["skip_gain"] * out
            expected_std = math.sqrt(expected_std**2 + 0.2**2)
            position += 1
    pooled = gelu(conv(params["head"], x)).mean(axis=(1, 2)).T
    return pooled @ params["classifier"]["weight"] + params["classifier"]["bias"]


@pytest.mark.parametrize("name", SHAPES)
def test_the_model_is_the_one_that_the_paper_describes(name: str) -> None:
    """Logits agree with an independent implementation to float32 accuracy, with every parameter off its start."""
    shape = SHAPES[name]
    params = nfnet.init(jax.random.key(3), shape, channels=3, classes=5, skip_init=0.7)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    params = tree.unflatten(
        [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )
    images = jax.random.normal(jax.random.key(5), (3, 16, 16, 3))
    expected = reference_logits(jax.tree.map(np.asarray, params), np.asarray(images, np.float64), shape)
    np.testing.assert_allclose(nfnet.apply(params, images, shape, forward=IM2COL), expected, rtol=2e-4, atol=2e-5)


def test_standardised_weights_have_the_promised_moments() -> None:
    """Every output unit has mean 0 and variance gain squared over fan-in."""
    weight = jax.random.normal(jax.random.key(6), (3, 3, 8, 4)) + 2.0
    gain = jnp.asarray([0.5, 1.0, 2.0, 3.0])
    got = np.asarray(nfnet.standardise(weight, gain), np.float64)
    np.testing.assert_allclose(got.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(got.var(axis=(0, 1, 2)) * 72, np.asarray(gain) ** 2, rtol=1e-4)


def test_a_zero_skip_gain_makes_residual_branches_silent() -> None:
    """With SkipInit at its start of 0 the blocks pass their shortcut alone."""
    params = nfnet.init(jax.random.key(7), SMALL, channels=3, classes=5, skip_init=0.0)
    images = jax.random.normal(jax.random.key(8), (2, 16, 16, 3))
    before = nfnet.apply(params, images, SMALL, forward=IM2COL)
    for block in params["blocks"]:
        block["expand"]["bias"] += 1.0
    np.testing.assert_array_equal(before, nfnet.apply(params, images, SMALL, forward=IM2COL))


def test_bfloat16_compute_follows_float32() -> None:
    """bf16 activations stay within bf16 accuracy of float32 and the parameters stay float32."""
    params = nfnet.init(jax.random.key(9), SMALL, channels=3, classes=5, skip_init=0.5)
    images = jax.random.normal(jax.random.key(10), (4, 16, 16, 3))
    exact = nfnet.apply(params, images, SMALL, forward=IM2COL)
    coarse = nfnet.apply(params, images.astype(jnp.bfloat16), SMALL, forward=IM2COL)
    assert coarse.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    spread = float(jnp.std(exact))
    assert float(jnp.max(jnp.abs(coarse.astype(jnp.float32) - exact))) < 0.1 * spread
