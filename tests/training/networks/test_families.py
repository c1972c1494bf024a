"""What holds for every family: counts, names of leaves, noise, rematerialisation, dtypes."""

import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from sweeps.canonical import from_jsonable
from sweeps.hybrid_shape import HybridShape
from sweeps.separable_shape import SeparableShape
from sweeps.shape import FAMILIES, Shape
from sweeps.study import Model
from sweeps.vit_shape import ViTShape
from tests.training.small_nets import SMALL
from training.networks import families
from training.networks.forward import Forward
from training.networks.layers import drop_rates

CONF = Path(__file__).resolve().parents[3] / "conf" / "model"
FILES = sorted(CONF.rglob("*.yaml"))
NETS: dict[str, Shape] = {
    "nfnet": SMALL,
    "vit": ViTShape(patch_px=4, width=8, depth=3, heads=2, mlp_width=12),
    "separable": SeparableShape(stage_depths=(1, 2), stage_widths=(4, 6), kernel_px=3, stem_px=2),
    "hybrid": HybridShape(
        stem_widths=(3, 6), stem_strides=(2, 2), width=8, depth=2, heads=2, mlp_width=12, pooling="map"
    ),
}
PLAIN = Forward(path="im2col")
answer = jax.jit(families.apply, static_argnames=("shape", "forward"))


def laid_out(shape: Shape, *, image_px: int, classes: int, channels: int = 3) -> Any:
    """Returns the parameters' shapes without making them."""
    return jax.eval_shape(
        lambda key: families.init(key, shape, image_px=image_px, channels=channels, classes=classes, skip_init=0.0),
        jax.random.key(0),
    )


@functools.cache
def fresh(shape: Shape) -> Any:
    """Returns parameters whose residual branches speak."""
    init = functools.partial(families.init, shape=shape, image_px=16, channels=3, classes=5, skip_init=0.5)
    return jax.jit(init)(jax.random.key(1))


def pictures(batch: int = 4) -> jax.Array:
    """Returns random images."""
    return jax.random.normal(jax.random.key(2), (batch, 16, 16, 3))


def product_macs(jaxpr: Any) -> int:
    """Counts the multiply-accumulates of a program's matrix products and convolutions, loops as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        out = [math.prod(value.aval.shape) for value in equation.outvars]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += out[0] * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            out_axis = equation.params["dimension_numbers"].rhs_spec[0]
            total += out[0] * math.prod(kernel) // kernel[out_axis]
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += product_macs(inner) * equation.params.get("length", 1)
    return total


def test_there_is_a_small_net_of_every_family() -> None:
    """What this file says of all families it says of all."""
    assert {name: type(shape) for name, shape in NETS.items()} == FAMILIES


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
@pytest.mark.parametrize(("classes", "channels"), [(1000, 3), (30_000, 1)])
def test_every_shape_in_conf_counts_the_parameters_of_the_real_model(file: Path, classes: int, channels: int) -> None:
    """The closed form that plans are priced with equals the model that is trained, exactly."""
    model = from_jsonable(Model, yaml.safe_load(file.read_text()))
    image_px = 16 if file.parent.name in ("scale", "edge") else 224
    tree = laid_out(model.shape, image_px=image_px, classes=classes, channels=channels)
    counted = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
    assert model.shape.params(image_px=image_px, classes=classes, channels=channels) == counted


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_shape_in_conf_counts_the_macs_of_the_real_model(file: Path) -> None:
    """The closed form equals the matrix products and convolutions of the traced program, exactly."""
    model = from_jsonable(Model, yaml.safe_load(file.read_text()))
    image_px = 16 if file.parent.name in ("scale", "edge") else 224
    params = laid_out(model.shape, image_px=image_px, classes=64)
    images = jax.ShapeDtypeStruct((1, image_px, image_px, 3), jnp.float32)
    traced = jax.make_jaxpr(lambda p, x: families.apply(p, x, model.shape, forward=Forward(path="xla")))(params, images)
    assert product_macs(traced.jaxpr) == model.shape.forward_macs(image_px=image_px, classes=64)


@pytest.mark.parametrize("name", NETS)
def test_xla_counts_the_same_work(name: str) -> None:
    """XLA's own count of the compiled program is above ours by what we leave out: up to half of so small a net."""
    shape = NETS[name]
    shape = type(shape)(**{**vars(shape), **({"depth": 2} if "depth" in vars(shape) else {})})
    params = laid_out(shape, image_px=16, classes=64)
    images = jax.ShapeDtypeStruct((8, 16, 16, 3), jnp.float32)
    lowered = jax.jit(lambda p, x: families.apply(p, x, shape, forward=Forward(path="xla"))).lower(params, images)
    counted = lowered.cost_analysis()["flops"] / 2 / 8  # type: ignore[index]
    assert 1.0 < counted / shape.forward_macs(image_px=16, classes=64) < 1.5


@pytest.mark.parametrize("name", NETS)
def test_the_classifier_lies_where_everybody_finds_it(name: str) -> None:
    """It is a top-level key with `weight` (features, classes) and `bias`; all leaves are float32 with known names."""
    params = fresh(NETS[name])
    assert {key: leaf.shape[-1] for key, leaf in params["classifier"].items()} == {"weight": 5, "bias": 5}
    assert params["classifier"]["weight"].ndim == 2
    names = {path[-1].key for path, _ in jax.tree.leaves_with_path(params)}
    assert names <= {"weight", "bias", "gain", "scale", "skip_gain", "positions", "token", "query"}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    flat = [path for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "weight" and leaf.ndim < 2]
    assert not flat


@pytest.mark.parametrize("name", NETS)
def test_the_two_paths_give_the_same_logits(name: str) -> None:
    """A network does not depend on how its convolutions are computed."""
    shape = NETS[name]
    xla, im2col = (answer(fresh(shape), pictures(), shape, forward=Forward(path=p)) for p in ("xla", "im2col"))
    np.testing.assert_allclose(xla, im2col, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_rematerialisation_changes_no_gradient(name: str) -> None:
    """Blocks computed again in the backward pass give the gradients of blocks kept, noise included."""
    shape, images = NETS[name], pictures()

    def gradient(*, remat: bool) -> Any:
        forward = Forward(path="im2col", remat=remat, dropout=0.3, stochastic_depth=0.5)
        key = jax.random.key(9)
        return jax.jit(jax.grad(lambda p: jnp.sum(families.apply(p, images, shape, forward=forward, key=key) ** 2)))(
            fresh(shape)
        )

    for kept, again in zip(jax.tree.leaves(gradient(remat=False)), jax.tree.leaves(gradient(remat=True)), strict=True):
        np.testing.assert_allclose(kept, again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_noise_comes_with_a_key_alone(name: str) -> None:
    """Without a key dropout and stochastic depth are silent; with one the same key gives the same noise."""
    shape, images = NETS[name], pictures()
    params = fresh(shape)
    noisy = Forward(path="im2col", dropout=0.5, stochastic_depth=0.5)
    plain = answer(params, images, shape, forward=PLAIN)
    np.testing.assert_array_equal(answer(params, images, shape, forward=noisy), plain)
    once, again, other = (answer(params, images, shape, forward=noisy, key=jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert float(jnp.max(jnp.abs(once - plain))) > 1e-4
    assert float(jnp.max(jnp.abs(once - other))) > 1e-4
    quiet = answer(params, images, shape, forward=PLAIN, key=jax.random.key(1))
    np.testing.assert_allclose(quiet, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_dropout_is_right_on_average(name: str) -> None:
    """Over many keys the logits with dropout have the mean of those without."""
    shape, images = NETS[name], pictures(batch=2)
    params = fresh(shape)
    forward = Forward(path="im2col", dropout=0.5)
    keys = jax.random.split(jax.random.key(3), 1024)
    noisy = jax.vmap(lambda key: families.apply(params, images, shape, forward=forward, key=key))
    logits = jax.jit(noisy)(keys)
    plain = answer(params, images, shape, forward=PLAIN)
    standard_error = jnp.std(logits, axis=0) / math.sqrt(len(keys))
    assert float(jnp.max(jnp.abs(jnp.mean(logits, axis=0) - plain) / (standard_error + 1e-6))) < 5


@pytest.mark.parametrize("name", NETS)
def test_images_do_not_see_one_another(name: str) -> None:
    """An image's logits are the same alone and in a batch: nothing is normalised over the batch."""
    shape, images = NETS[name], pictures()
    params = fresh(shape)
    together = answer(params, images, shape, forward=PLAIN)
    alone = answer(params, images[1:2], shape, forward=PLAIN)
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_bfloat16_compute_follows_float32(name: str) -> None:
    """bf16 activations stay within bf16 accuracy of float32, noise included in their dtype."""
    shape, images = NETS[name], pictures()
    params = fresh(shape)
    exact = answer(params, images, shape, forward=PLAIN)
    coarse = answer(params, images.astype(jnp.bfloat16), shape, forward=PLAIN)
    noisy = Forward(path="im2col", dropout=0.5, stochastic_depth=0.5)
    with_noise = answer(params, images.astype(jnp.bfloat16), shape, forward=noisy, key=jax.random.key(1))
    assert coarse.dtype == with_noise.dtype == jnp.bfloat16
    assert float(jnp.max(jnp.abs(coarse.astype(jnp.float32) - exact))) < 0.1 * float(jnp.std(exact))


@pytest.mark.parametrize("name", ["vit", "separable", "hybrid"])
def test_a_lost_branch_is_made_up_for(name: str) -> None:
    """Stochastic depth spares the first block, drops the last at its rate and scales what stays."""
    rates = np.asarray(drop_rates(0.6, 3))
    np.testing.assert_allclose(rates, [0.0, 0.3, 0.6], rtol=1e-6)
    shape, images = NETS[name], pictures(batch=2)
    params = fresh(shape)
    forward = Forward(path="im2col", stochastic_depth=1e-6)
    nearly = answer(params, images, shape, forward=forward, key=jax.random.key(5))
    plain = answer(params, images, shape, forward=PLAIN)
    np.testing.assert_allclose(nearly, plain, rtol=1e-4, atol=1e-5)
