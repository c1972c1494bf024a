"""The compiled programs of one model size: many optimiser steps a dispatch, and the held-out loss.

Learning rate, horizon, warm-up, seed and step count are traced, so that one executable serves every trial of a size.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sweeps.nfnet_shape import NFNetShape
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec
from training import nfnet
from training.convolution import fast_path
from training.optimiser import learning_rate, make_optimiser
from training.source import EVALUATION_BATCH_IMAGES, Source

STEPS_PER_DISPATCH = 32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What a run is between two dispatches, and all that a checkpoint holds of it."""

    params: nfnet.Params
    optimiser: optax.OptState
    step: jax.Array
    """Optimiser steps done, int32."""
    loss_sum: jax.Array
    """Sum of the training losses since the last reported point [nats]."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Horizon:
    """The traced numbers that tell one trial of a size from another."""

    peak_lr: jax.Array
    steps: jax.Array
    warmup_steps: jax.Array
    stream: jax.Array
    """uint32, which stream of samples is seen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """The compiled functions of one (shape, data, batch, recipe, schedule)."""

    start: Callable[[int], TrainState]
    """Seed -> fresh state."""
    advance: Callable[..., TrainState]
    """(state, arrays, horizon, indices (STEPS_PER_DISPATCH, batch), count) -> state after `count` more steps."""
    evaluate: Callable[..., jax.Array]
    """(params, arrays, stream, batches) -> sum of held-out losses over batches x EVALUATION_BATCH_IMAGES images."""


def divergence(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns KL(targets || softmax(logits)) per image [nats]; for one-hot targets that is the cross entropy."""
    log_probability = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.sum(jax.scipy.special.xlogy(targets, targets) - targets * log_probability, axis=-1)


def make_programs(
    shape: NFNetShape, data: DataSpec, recipe: RecipeSpec, schedule: ScheduleSpec, source: Source
) -> Programs:
    """Returns the programs, traced on first use."""
    dtype, path = jnp.dtype(recipe.compute_dtype), fast_path()
    optimiser = make_optimiser(recipe)

    def loss(params: nfnet.Params, images: jax.Array, targets: jax.Array) -> jax.Array:
        return divergence(nfnet.apply(params, images.astype(dtype), shape, path=path), targets)

    def start(seed: int) -> TrainState:
        params = nfnet.init(
            jax.random.key(seed), shape, channels=data.channels, classes=data.classes, skip_init=recipe.skip_init
        )
        return TrainState(params, optimiser.init(params), jnp.int32(0), jnp.float32(0.0))

    def one_step(state: TrainState, arrays: Any, horizon: Horizon, indices: jax.Array) -> TrainState:
        images, targets = source.draw(arrays, indices, horizon.stream)
        value, gradient = jax.value_and_grad(lambda p: jnp.mean(loss(p, images, targets)))(state.params)
        rate = learning_rate(
            schedule,
            step=state.step,
            steps=horizon.steps,
            peak_lr=horizon.peak_lr,
            warmup_steps=horizon.warmup_steps,
        )
        direction, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        return TrainState(params, optimiser_state, state.step + 1, state.loss_sum + value)

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: TrainState, arrays: Any, horizon: Horizon, indices: jax.Array, count: jax.Array) -> TrainState:
        return jax.lax.fori_loop(0, count, lambda i, s: one_step(s, arrays, horizon, indices[i]), state)

    @jax.jit
    def evaluate(params: nfnet.Params, arrays: Any, stream: jax.Array, batches: jax.Array) -> jax.Array:
        def add(batch: jax.Array, total: jax.Array) -> jax.Array:
            first = batch.astype(jnp.uint32) * EVALUATION_BATCH_IMAGES
            indices = first + jnp.arange(EVALUATION_BATCH_IMAGES, dtype=jnp.uint32)
            return total + jnp.sum(loss(params, *source.draw_held_out(arrays, indices, stream)))

        return jax.lax.fori_loop(0, batches, add, jnp.float32(0.0))

    return Programs(start=jax.jit(start), advance=advance, evaluate=evaluate)
