import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.nfnet_shape import NFNetShape
from tests.training.networks.test_convolution import naive
from tests.training.small_nets import SHAPES, SMALL
from training.networks import nfnet
from training.networks.forward import Forward

DEEP = NFNetShape(
    stage_depths=(2, 4),
    stage_widths=(4, 8),
    stage_strides=(1, 2),
    stem_widths=(4,),
    stem_strides=(2,),
    group_width=2,
)
IM2COL = Forward(path="im2col")


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


def each_block(params: dict) -> list[dict]:  # type: ignore[type-arg]
    """The parameters of every block in order, those that lie stacked taken apart."""
    blocks = []
    for entry in params["blocks"]:
        if (stack := entry.get("stacked")) is None:
            blocks.append(entry)
        else:
            blocks += [jax.tree.map(lambda leaf, i=i: leaf[i], stack) for i in range(len(stack["skip_gain"]))]
    return blocks


def reference_logits(params: dict, images: np.ndarray, shape: NFNetShape) -> np.ndarray:  # type: ignore[type-arg]
    """The network as section 4 of the reference describes it, written once more in NumPy and float64."""
    x = images.transpose(3, 1, 2, 0)
    for index, stem in enumerate(params["stem"]):
        x = conv(stem, gelu(x) if index else x, shape.stem_strides[index])
    blocks, position, expected_std = each_block(params), 0, 1.0
    for stage, depth in enumerate(shape.stage_depths):
        for index in range(depth):
            block = blocks[position]
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


def moved_off_start(shape: NFNetShape, dtype: type = np.float32) -> dict:  # type: ignore[type-arg]
    """Parameters none of which is where it starts."""
    params = nfnet.init(jax.random.key(3), shape, channels=3, classes=5, skip_init=0.7)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.asarray(leaf + 0.1 * rng.normal(size=leaf.shape), dtype), params)


@pytest.mark.parametrize("name", ["grouped", "deep"])
def test_gradients_are_those_of_the_reference(name: str) -> None:
    """Along a random direction of every kind of parameter, against central differences in float64."""
    shape = {**SHAPES, "deep": DEEP}[name]
    with jax.enable_x64(True):
        params = moved_off_start(shape, np.float64)
        rng = np.random.default_rng(1)
        images, weights = rng.normal(size=(2, 8, 8, 3)), rng.normal(size=(2, 5))

        def loss(params: dict) -> jax.Array:  # type: ignore[type-arg]
            logits = nfnet.apply(params, jnp.asarray(images), shape, forward=Forward(path="xla"))
            return jnp.sum(logits * weights)

        slope = jax.jit(jax.grad(loss))(params)
        leaves, tree = jax.tree_util.tree_flatten_with_path(params)
        for place in range(0, len(leaves), 5):  # every fifth: all kinds come up
            along = rng.normal(size=leaves[place][1].shape)

            def shifted(step: float, place: int = place, along: np.ndarray = along) -> float:
                moved = [leaf + (step * along if i == place else 0) for i, (_, leaf) in enumerate(leaves)]
                logits = reference_logits(jax.tree.unflatten(tree, moved), images, shape)
                return float(np.sum(logits * weights))

            expected = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
            got = float(np.sum(np.asarray(jax.tree.leaves(slope)[place]) * along))
            assert got == pytest.approx(expected, rel=1e-5, abs=1e-8), leaves[place][0]


def test_a_loop_over_stacked_blocks_is_the_same_network() -> None:
    """Three blocks alike that run in a loop give the logits of the reference, which takes them one by one."""
    params = moved_off_start(DEEP)
    images = np.asarray(jax.random.normal(jax.random.key(5), (3, 16, 16, 3)))
    expected = reference_logits(params, images.astype(np.float64), DEEP)
    for forward in (IM2COL, Forward(path="xla", remat=True)):
        got = nfnet.apply(params, jnp.asarray(images), DEEP, forward=forward)
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)


def test_only_blocks_that_follow_a_transition_in_a_deep_stage_lie_stacked() -> None:
    """Two blocks alike or more; the small nets of the scale models keep one entry a block."""
    params = nfnet.init(jax.random.key(0), DEEP, channels=3, classes=5, skip_init=1.0)
    assert [list(entry) == ["stacked"] for entry in params["blocks"]] == [False, False, False, True]
    assert params["blocks"][3]["stacked"]["expand"]["weight"].shape[0] == 3
    assert all(
        "stacked" not in entry
        for entry in nfnet.init(jax.random.key(0), SMALL, channels=3, classes=5, skip_init=1.0)["blocks"]
    )


def test_computing_blocks_again_changes_no_gradient() -> None:
    """Rematerialisation is a matter of memory alone, in a loop and outside."""
    params, images = moved_off_start(DEEP), jax.random.normal(jax.random.key(5), (2, 8, 8, 3))

    def slope(remat: bool) -> dict:  # type: ignore[type-arg]
        forward = Forward(path="xla", remat=remat)
        return jax.jit(jax.grad(lambda p: jnp.sum(nfnet.apply(p, images, DEEP, forward=forward) ** 2)))(params)

    kept, again = slope(False), slope(True)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(kept))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6 * largest), kept, again)


@pytest.mark.parametrize("shape", [SMALL, DEEP], ids=["small", "deep"])
def test_noise_needs_a_key_and_leaves_some_images_alone(shape: NFNetShape) -> None:
    """Without a key no rate matters; with one, an image whose blocks all stay has the logits of a net without noise."""
    params, images = moved_off_start(shape), jax.random.normal(jax.random.key(5), (32, 8, 8, 3))
    noisy = Forward(path="xla", stochastic_depth=0.5)
    plain = np.asarray(nfnet.apply(params, images, shape, forward=Forward(path="xla")))
    np.testing.assert_array_equal(plain, nfnet.apply(params, images, shape, forward=noisy))
    once, again, other = (
        np.asarray(nfnet.apply(params, images, shape, forward=noisy, key=jax.random.key(k))) for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert np.any(once != other)
    is_plain = np.all(np.isclose(once, plain, rtol=1e-4, atol=1e-5), axis=1)
    assert 0 < is_plain.sum() < len(images)


def test_stochastic_depth_drops_later_blocks_more_often_and_scales_nothing() -> None:
    """Block i of n at i / n of the rate; a net whose later branches always fall is its first block alone."""
    params, images = moved_off_start(SMALL), jax.random.normal(jax.random.key(5), (64, 8, 8, 3))
    silent = jax.tree.map(lambda leaf: leaf, params)
    for entry in silent["blocks"][1:]:
        entry["skip_gain"] = np.float32(0)
    shorter = np.asarray(nfnet.apply(silent, images, SMALL, forward=Forward(path="xla")))
    noisy = Forward(path="xla", stochastic_depth=1.0)  # the three blocks fall at 0, 1/3 and 2/3
    runs = [np.asarray(nfnet.apply(params, images, SMALL, forward=noisy, key=jax.random.key(k))) for k in range(4)]
    both_fell = np.mean([np.all(np.isclose(run, shorter, rtol=1e-4, atol=1e-5), axis=1) for run in runs])
    assert both_fell == pytest.approx(1 / 3 * 2 / 3, abs=5 * (2 / 9 * 7 / 9 / 256) ** 0.5)


def test_dropout_falls_on_the_features_alone() -> None:
    """With a classifier of one weight a feature, logits are the features: a part of them 0, the rest scaled up."""
    params = moved_off_start(SMALL)
    width = SMALL.head_width
    params["classifier"] = {"weight": np.eye(width, dtype=np.float32), "bias": np.zeros(width, np.float32)}
    images = jax.random.normal(jax.random.key(5), (64, 8, 8, 3))
    plain = np.asarray(nfnet.apply(params, images, SMALL, forward=Forward(path="xla")))
    noisy = Forward(path="xla", dropout=0.25)
    dropped = np.asarray(nfnet.apply(params, images, SMALL, forward=noisy, key=jax.random.key(1)))
    fell = dropped == 0
    np.testing.assert_allclose(dropped[~fell], plain[~fell] / 0.75, rtol=1e-5)
    assert fell.mean() == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / fell.size) ** 0.5)


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
