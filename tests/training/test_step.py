import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.compute import ComputeSpec
from sweeps.trial import RecipeSpec, ScheduleSpec
from tests.training.small_nets import changed
from tests.training.small_pool import DATA, IMAGES, POOL, TARGETS, TOKENS, assert_close, logits_of, pool, sharp_params
from training.data import fed_source
from training.optimiser import make_optimiser
from training.step import (
    Horizon,
    TrainState,
    divergence,
    make_gradient,
    make_programs,
    optimiser_step,
)

ROWS = np.arange(8, dtype=np.uint32)
CONSTANT = ScheduleSpec(name="constant", warmup_steps=0)
AT_REST = Horizon(peak_lr=np.float32(0.5), steps=np.int32(10), warmup_steps=np.float32(0), stream=np.uint32(3))
PLAIN = RecipeSpec()
SMOOTHED = RecipeSpec(label_smoothing=0.1)
NOISY = RecipeSpec(dropout=0.5, stochastic_depth=0.5)


@functools.cache
def gradient(recipe: RecipeSpec, parts: int = 1) -> Callable[[jax.Array | None], Any]:
    """Key -> mean loss of the first eight images, in so many microbatches, and its gradient."""
    one = make_gradient(TOKENS, recipe, pool(), ComputeSpec(microbatches=parts), path="xla")
    return jax.jit(lambda key: one(sharp_params(), POOL, AT_REST, jnp.asarray(ROWS).reshape(parts, -1), key))


@functools.cache
def loss(recipe: RecipeSpec) -> Callable[[jax.Array | None], Any]:
    """Key -> mean loss of the first eight images."""
    one = make_gradient(TOKENS, recipe, pool(), ComputeSpec(), path="xla")
    return jax.jit(lambda key: one(sharp_params(), POOL, AT_REST, ROWS[None], key)[0])


def expected_loss(targets: np.ndarray) -> float:
    """The mean divergence of the first eight images from these targets."""
    return float(jnp.mean(divergence(logits_of(sharp_params(), IMAGES), targets)[:8]))


@pytest.mark.parametrize("parts", [2, 4])
def test_microbatches_add_up_to_the_batch(parts: int) -> None:
    """A batch in parts has the loss and the gradient of the whole batch."""
    value, slope = gradient(PLAIN, parts)(None)
    expected, of_whole = gradient(PLAIN)(None)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert_close(slope, of_whole)


def test_the_loss_of_a_batch_is_the_mean_divergence() -> None:
    """The reported training loss is the mean over the images."""
    assert float(gradient(PLAIN)(None)[0]) == pytest.approx(expected_loss(TARGETS), rel=1e-5)


def test_label_smoothing_mixes_targets_with_the_uniform() -> None:
    """A tenth of the mass is spread over all classes, and the loss is against those targets."""
    assert float(loss(SMOOTHED)(None)) == pytest.approx(expected_loss(0.9 * TARGETS + 0.1 / 5), rel=1e-5)


def test_images_that_could_not_be_decoded_weigh_nothing() -> None:
    """A batch with two bad rows has the mean loss and gradient of its six good ones; of bad ones alone, zeros."""
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (1, 8, 8, 8, 3), np.uint8), rng.integers(0, 5, (1, 8), np.int32)
    one = make_gradient(TOKENS, SMOOTHED, fed_source(None, DATA), ComputeSpec(), path="xla")
    step = jax.jit(lambda is_good: one(sharp_params(), (images, labels, is_good[None]), AT_REST, ROWS[None], None))
    is_good = np.asarray([True, False, True, True, False, True, True, True])
    value, slope = step(is_good)
    alone = [step(np.arange(8) == row) for row in np.flatnonzero(is_good)]
    assert float(value) == pytest.approx(np.mean([float(one) for one, _ in alone]), rel=1e-5)
    assert_close(slope, jax.tree.map(lambda *leaves: sum(leaves) / 6, *(slope for _, slope in alone)))
    value, slope = step(np.zeros(8, bool))
    assert value == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(slope))


def test_noise_is_a_function_of_the_key_and_absent_without_it() -> None:
    """The same key gives the same loss, another key another one; without a key there is no noise."""
    first, again, other = (float(loss(NOISY)(jax.random.key(seed))) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert float(loss(NOISY)(None)) == pytest.approx(expected_loss(TARGETS), rel=1e-5)


def test_noise_depends_on_seed_and_step_alone_and_is_off_in_evaluation() -> None:
    """Two steps at once are the same two steps one by one; another seed sees other noise; held-out images none."""
    programs = make_programs(TOKENS, DATA, changed(NOISY, agc_clipping=1.0), CONSTANT, pool())

    def losses(seed: int, counts: tuple[int, ...]) -> list[float]:
        state = programs.start(np.int32(0))
        horizon = Horizon(AT_REST.peak_lr, AT_REST.steps, AT_REST.warmup_steps, np.uint32(seed))
        for count in counts:
            state = programs.advance(state, POOL, horizon, np.stack([ROWS[None]] * 2), np.int32(count))
        return [float(state.loss_sum), *np.asarray(state.params["classifier"]["weight"]).ravel().tolist()]

    assert losses(3, (2,)) == losses(3, (1, 1))
    assert losses(3, (2,)) != losses(4, (2,))
    state = programs.start(np.int32(0))
    sums = programs.evaluate(state.params, POOL, np.uint32(0), np.int32(1))
    expected = jnp.mean(divergence(logits_of(state.params, IMAGES), TARGETS))
    assert float(sums.loss) / 256 == pytest.approx(float(expected), rel=1e-5)
    assert int(sums.images) == 256


WEIGHT = np.asarray([1.0, -2.0, 0.5])
CURVATURE = np.asarray([2.0, 0.5, 4.0])


def bowl(params: Any, arrays: Any, horizon: Horizon, rows: jax.Array, key: jax.Array | None) -> tuple[jax.Array, Any]:
    """The loss sum(c w^2) / 2 and its gradient c w."""
    weight = params["w"]
    return jnp.sum(jnp.asarray(CURVATURE, jnp.float32) * weight**2) / 2, {"w": jnp.float32(CURVATURE) * weight}


def stepper(recipe: RecipeSpec) -> Callable[[TrainState], TrainState]:
    """One step in the bowl at learning rate 0.5."""
    return functools.partial(
        optimiser_step,
        arrays=None,
        horizon=AT_REST,
        indices=jnp.zeros((1, 1), jnp.uint32),
        gradient=bowl,
        optimiser=make_optimiser(recipe),
        recipe=recipe,
        schedule=CONSTANT,
    )


def at_weight(recipe: RecipeSpec) -> TrainState:
    """The state at WEIGHT before the first step."""
    params = {"w": jnp.asarray(WEIGHT, jnp.float32)}
    average = {"w": params["w"] + 0} if recipe.ema_decay else None
    return TrainState(params, make_optimiser(recipe).init(params), average, jnp.int32(0), jnp.float32(0))


def test_sam_steps_along_the_gradient_of_its_uphill_neighbour() -> None:
    """arXiv:2010.01412 eq. 2 and 3 by hand: w - lr c (w + rho c w / |c w|); the loss is that of w itself."""
    recipe = RecipeSpec(momentum=0.0, agc_clipping=1e9, sam_radius=0.3)
    state = stepper(recipe)(at_weight(recipe))
    slope = CURVATURE * WEIGHT
    neighbour = WEIGHT + 0.3 * slope / np.linalg.norm(slope)
    np.testing.assert_allclose(state.params["w"], WEIGHT - 0.5 * CURVATURE * neighbour, rtol=1e-6)
    assert float(state.loss_sum) == pytest.approx(np.sum(CURVATURE * WEIGHT**2) / 2, rel=1e-6)


def test_sam_at_the_bottom_stays_there() -> None:
    """A gradient of zero has no direction: nothing moves and nothing becomes NaN."""
    recipe = RecipeSpec(momentum=0.0, agc_clipping=1e9, sam_radius=0.3)
    state = at_weight(recipe)
    state = TrainState({"w": jnp.zeros(3)}, state.optimiser, None, state.step, state.loss_sum)
    assert not np.any(stepper(recipe)(state).params["w"])


def test_the_average_follows_the_weights_as_stated() -> None:
    """By hand: decay is (1 + steps) / (10 + steps) until that exceeds ema_decay; it is what is evaluated."""
    recipe = RecipeSpec(momentum=0.0, agc_clipping=1e9, ema_decay=0.2)
    state, weight, average = at_weight(recipe), WEIGHT, WEIGHT
    for step in range(5):
        state = stepper(recipe)(state)
        weight = weight - 0.5 * CURVATURE * weight
        decay = min(0.2, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
        np.testing.assert_allclose(state.params["w"], weight, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.average["w"], average, rtol=1e-5, atol=1e-6)
    assert state.evaluated is state.average
    assert at_weight(RecipeSpec()).evaluated is not None
    assert int(state.step) == 5
