import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.trial import RecipeSpec, ScheduleSpec
from training.optimiser import learning_rate, make_optimiser

RNG = np.random.default_rng(0)
PARAMS = {
    "conv": {
        "weight": RNG.normal(size=(3, 3, 4, 5)),
        "gain": RNG.normal(size=5),
        "bias": np.zeros(5),
    },
    "dense": {"weight": RNG.normal(size=(6, 7))},
    "skip_gain": np.asarray(0.3),
    "classifier": {"weight": RNG.normal(size=(6, 3)), "bias": RNG.normal(size=3)},
}
GRADIENT = jax.tree.map(lambda leaf: 10 * RNG.normal(size=leaf.shape), PARAMS)


def float32(tree: object) -> object:
    """The tree on the device."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def clipped(gradient: np.ndarray, weight: np.ndarray, clipping: float, eps: float) -> np.ndarray:
    """The paper's rule, arXiv:2102.06171 eq. 3: per output unit for matrices and kernels, whole for vectors."""
    axes = tuple(range(weight.ndim - 1)) if weight.ndim > 1 else None
    gradient_norm = np.sqrt((gradient**2).sum(axis=axes, keepdims=True))
    weight_norm = np.maximum(np.sqrt((weight**2).sum(axis=axes, keepdims=True)), eps)
    return gradient * np.minimum(1.0, clipping * weight_norm / gradient_norm)


@pytest.mark.parametrize("place", [("conv", "weight"), ("conv", "gain"), ("conv", "bias"), ("dense", "weight")])
def test_gradients_are_clipped_unit_by_unit(place: tuple[str, str]) -> None:
    """Every unit's gradient is at most the stated part of its weight norm, with a floor for zero weights."""
    recipe = RecipeSpec(momentum=0.0, agc_clipping=0.05, agc_eps=1e-3)
    optimiser = make_optimiser(recipe)
    params = float32(PARAMS)
    got, _ = optimiser.update(float32(GRADIENT), optimiser.init(params), params)
    group, leaf = place
    expected = clipped(GRADIENT[group][leaf], PARAMS[group][leaf], 0.05, 1e-3)
    np.testing.assert_allclose(got[group][leaf], expected, rtol=1e-4)


def test_the_classifier_weight_is_never_clipped() -> None:
    """The last layer's gradient passes as it is; its bias is clipped like every vector."""
    optimiser = make_optimiser(RecipeSpec(momentum=0.0, agc_clipping=0.05))
    params = float32(PARAMS)
    got, _ = optimiser.update(float32(GRADIENT), optimiser.init(params), params)
    np.testing.assert_allclose(got["classifier"]["weight"], GRADIENT["classifier"]["weight"], rtol=1e-6)
    assert np.abs(got["classifier"]["bias"]).max() < np.abs(GRADIENT["classifier"]["bias"]).max()


def test_weight_decay_comes_after_clipping_and_spares_gains_and_biases() -> None:
    """Decay adds its share to weights alone, unclipped."""
    params, zero = float32(PARAMS), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), PARAMS)
    optimiser = make_optimiser(RecipeSpec(momentum=0.0, agc_clipping=1e-6, weight_decay=0.5))
    got, _ = optimiser.update(zero, optimiser.init(params), params)
    for group in ("conv", "dense", "classifier"):
        np.testing.assert_allclose(got[group]["weight"], 0.5 * PARAMS[group]["weight"], rtol=1e-5)
    for spared in (got["conv"]["gain"], got["conv"]["bias"], got["skip_gain"], got["classifier"]["bias"]):
        assert not np.any(spared)


def test_momentum_is_nesterovs() -> None:
    """Two equal gradients move by g(1 + m) and then g(1 + m + m^2)."""
    optimiser = make_optimiser(RecipeSpec(momentum=0.9, agc_clipping=1e9))
    params = {"w": jnp.ones(1)}
    state = optimiser.init(params)
    first, state = optimiser.update({"w": jnp.ones(1)}, state, params)
    second, _ = optimiser.update({"w": jnp.ones(1)}, state, params)
    np.testing.assert_allclose([first["w"][0], second["w"][0]], [1.9, 1 + 0.9 + 0.81], rtol=1e-6)


def rate(schedule: ScheduleSpec, step: int, steps: int) -> float:
    """The rate at one step of a run with peak 0.8."""
    value = learning_rate(
        schedule,
        step=jnp.int32(step),
        steps=jnp.int32(steps),
        peak_lr=jnp.float32(0.8),
        warmup_steps=jnp.float32(schedule.warmup_of(steps)),
    )
    return float(value)


@pytest.mark.parametrize("name", ["cosine", "wsd", "constant"])
def test_schedules_warm_up_to_the_peak_and_end_where_they_should(name: str) -> None:
    """Warm-up is linear, the peak is reached, and cosine and wsd end near zero."""
    schedule = ScheduleSpec(name=name, warmup_steps=10)
    assert rate(schedule, 0, 1000) == pytest.approx(0.08)
    assert rate(schedule, 9, 1000) == pytest.approx(0.8, rel=1e-4)
    if name != "constant":
        assert rate(schedule, 999, 1000) < 0.03 * 0.8
    else:
        assert rate(schedule, 999, 1000) == pytest.approx(0.8)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    """The cosine passes half of the peak half-way between warm-up and end."""
    assert rate(ScheduleSpec(name="cosine", warmup_steps=100), 550, 1000) == pytest.approx(0.4, rel=1e-5)


def test_warm_up_never_takes_more_than_its_part_of_a_short_run() -> None:
    """A run shorter than ten warm-ups is warmed up for a tenth of it."""
    schedule = ScheduleSpec(name="cosine", warmup_steps=50)
    assert schedule.warmup_of(100) == 10
    assert schedule.warmup_of(5000) == 50


def test_an_unknown_schedule_names_those_that_exist() -> None:
    """A misspelt schedule is refused with the list."""
    with pytest.raises(ValueError, match="cosine, wsd or constant"):
        rate(ScheduleSpec(name="cosin", warmup_steps=1), 1, 10)


def test_stacked_blocks_are_clipped_like_unstacked_ones() -> None:
    """A stacked leaf holds several blocks: each has its own units, gains and skip gain, and its own norms."""
    recipe = RecipeSpec(momentum=0.0, agc_clipping=0.05, weight_decay=0.1)
    optimiser = make_optimiser(recipe)

    def layer(rng: np.random.Generator, scale: float) -> dict:
        leaves = {"weight": (3, 3, 2, 4), "gain": (4,), "bias": (4,)}
        conv = {name: scale * rng.normal(size=shape) for name, shape in leaves.items()}
        return {"conv": conv, "dense": {"weight": scale * rng.normal(size=(4, 3))}, "skip_gain": scale * rng.normal()}

    def joined(layers: list) -> dict:
        return {"blocks": [{"stacked": jax.tree.map(lambda *leaves: np.stack(leaves), *layers)}]}

    rng = np.random.default_rng(1)
    params, gradients = ([layer(rng, scale * 10**block) for block in range(3)] for scale in (1.0, 5.0))
    stacked = float32(joined(params))
    got, _ = optimiser.update(float32(joined(gradients)), optimiser.init(stacked), stacked)
    apart = float32({"blocks": params})
    expected, _ = optimiser.update(float32({"blocks": gradients}), optimiser.init(apart), apart)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, joined(expected["blocks"]))


@pytest.mark.parametrize("largest", [None, 0.5])
def test_adamw_is_the_published_rule(largest: float | None) -> None:
    """Three steps against NumPy: bias-corrected moments, decay decoupled from them, the whole gradient clipped first.

    arXiv:1711.05101 algorithm 2; the caller's learning rate scales decay and direction alike.
    """
    recipe = RecipeSpec(
        optimiser="adamw", adam_b1=0.8, adam_b2=0.95, weight_decay=0.1, gradient_norm_clip=largest, momentum=0.0
    )
    optimiser = make_optimiser(recipe)
    params = float32(PARAMS)
    state = optimiser.init(params)
    moments = {place: (np.zeros(1), np.zeros(1)) for place in ("conv", "dense")}
    for step in range(1, 4):
        gradient = jax.tree.map(lambda leaf, scale=step: scale * leaf, GRADIENT)
        got, state = optimiser.update(float32(gradient), state, params)
        norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
        for group, (first, second) in moments.items():
            g = gradient[group]["weight"] * (1.0 if largest is None else min(1.0, largest / norm))
            first, second = 0.8 * first + 0.2 * g, 0.95 * second + 0.05 * g**2
            moments[group] = first, second
            adam = first / (1 - 0.8**step) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
            np.testing.assert_allclose(got[group]["weight"], adam + 0.1 * PARAMS[group]["weight"], rtol=1e-4)
        assert np.abs(got["conv"]["gain"]).max() < 1.5  # no decay, a direction of about one


def test_an_unknown_optimiser_names_those_that_exist() -> None:
    """A misspelt optimiser is refused with the list."""
    with pytest.raises(ValueError, match="sgd_agc or adamw"):
        make_optimiser(RecipeSpec(optimiser="adam"))
