"""The compiled programs of one model size: many optimiser steps a dispatch, and the held-out loss.

Learning rate, horizon, warm-up, seed and step count are traced, so that one executable serves every trial of a size.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from sweeps.compute import ComputeSpec
from sweeps.shape import Shape
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from training import mesh as meshes
from training.images.augment import PixelRange, augment
from training.networks import families
from training.networks.convolution import fast_path
from training.networks.forward import Forward
from training.optimiser import learning_rate, make_optimiser
from training.source import EVALUATION_BATCH_IMAGES, AnySource, Batch, FedSource, Source

Params = dict[str, Any]
_NOISE_STREAM = 0x5EED


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What a run is between two dispatches, and all that a checkpoint holds of it."""

    params: Params
    optimiser: optax.OptState
    average: Params | None
    """The moving average of the parameters, where the recipe has one."""
    step: jax.Array
    """Optimiser steps done, int32."""
    loss_sum: jax.Array
    """Sum of the training losses since the last reported point [nats]."""

    @property
    def evaluated(self) -> Params:
        """The weights that count: the average where there is one."""
        return self.params if self.average is None else self.average


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Horizon:
    """The traced numbers that tell one trial of a size from another."""

    peak_lr: Any
    steps: Any
    warmup_steps: Any
    stream: Any
    """uint32, which stream of samples is seen."""


def horizon_of(trial: Trial) -> Horizon:
    """Returns what tells this trial from others of its program."""
    return Horizon(
        peak_lr=np.float32(trial.peak_lr),
        steps=np.int32(trial.steps),
        warmup_steps=np.float32(trial.schedule.warmup_of(trial.steps)),
        stream=np.uint32(trial.seed),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Sums over held-out images."""

    loss: jax.Array
    """[nats]"""
    errors: jax.Array
    """Images whose most probable class is another than that of their target."""
    images: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """The compiled functions of one program: a trial without its epochs, peak learning rate and seed."""

    mesh: Mesh
    compute: ComputeSpec
    start: Callable[[Any], TrainState]
    """Seed -> fresh state, sharded."""
    advance: Callable[..., TrainState]
    """(state, arrays, horizon, indices (steps, microbatches, rows), count) -> state after `count` more steps."""
    evaluate: Callable[..., HeldOut]
    """(params, arrays, stream, batches) -> sums over batches x EVALUATION_BATCH_IMAGES images of a drawn source."""
    evaluate_rows: Callable[..., HeldOut]
    """(params, (images, labels, is_good)) -> sums over one batch from the hosts."""
    state_sharding: Any
    """The sharding of every leaf of the state."""


def divergence(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns KL(targets || softmax(logits)) per image [nats]; for one-hot targets that is the cross entropy.

    A row of zeros in `targets` is no image: its loss and its gradient are 0.
    """
    log_probability = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.sum(jax.scipy.special.xlogy(targets, targets) - targets * log_probability, axis=-1)


def make_programs(
    shape: Shape,
    data: DataSpec,
    recipe: RecipeSpec,
    schedule: ScheduleSpec,
    source: AnySource,
    *,
    compute: ComputeSpec = ComputeSpec(),
    mesh: Mesh | None = None,
    path: str | None = None,
) -> Programs:
    """Returns the programs, traced on first use.

    Args:
        mesh: by default over all devices that the processes of this trial have.
        path: of convolutions; by default the one for these devices. Both are given where a program is compiled for
            devices that are not there.
    """
    mesh = mesh or meshes.make_mesh()
    path = path or fast_path()
    start = functools.partial(start_state, shape=shape, data=data, recipe=recipe)
    sharding = meshes.of_state(jax.eval_shape(start, jnp.int32(0)), mesh, compute)
    one_step = functools.partial(
        optimiser_step,
        gradient=make_gradient(shape, recipe, source, compute, path=path, mesh=mesh),
        optimiser=make_optimiser(recipe),
        recipe=recipe,
        schedule=schedule,
    )

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding)
    def advance(state: TrainState, arrays: Any, horizon: Horizon, indices: jax.Array, count: jax.Array) -> TrainState:
        if isinstance(source, FedSource):  # one step a dispatch: no loop that would keep images alive
            return one_step(state, arrays, horizon, indices[0])
        return jax.lax.fori_loop(0, count, lambda i, s: one_step(s, arrays, horizon, indices[i]), state)

    evaluate, evaluate_rows = _make_evaluations(shape, recipe, source, mesh, path=path)
    return Programs(
        mesh=mesh,
        compute=compute,
        start=jax.jit(start, out_shardings=sharding),
        advance=advance,
        evaluate=evaluate,
        evaluate_rows=evaluate_rows,
        state_sharding=sharding,
    )


def _make_evaluations(
    shape: Shape, recipe: RecipeSpec, source: AnySource, mesh: Mesh, *, path: str
) -> tuple[Callable[..., HeldOut], Callable[..., HeldOut]]:
    """Returns Programs.evaluate and Programs.evaluate_rows."""
    forward = Forward(path=path)
    dtype = jnp.dtype(recipe.compute_dtype)

    def sums(params: Params, images: jax.Array, targets: jax.Array) -> HeldOut:
        logits = families.apply(params, images.astype(dtype), shape, forward=forward)
        is_image = jnp.any(targets > 0, axis=-1)
        is_wrong = jnp.argmax(logits, axis=-1) != jnp.argmax(targets, axis=-1)
        loss = jnp.sum(divergence(logits, targets))
        return HeldOut(loss, jnp.sum(is_wrong & is_image), jnp.sum(is_image))

    @functools.partial(jax.jit, out_shardings=meshes.whole(mesh))
    def evaluate(params: Params, arrays: Any, stream: jax.Array, batches: jax.Array) -> HeldOut:
        def add(batch: jax.Array, total: HeldOut) -> HeldOut:
            first = batch.astype(jnp.uint32) * EVALUATION_BATCH_IMAGES
            indices = first + jnp.arange(EVALUATION_BATCH_IMAGES, dtype=jnp.uint32)
            if mesh.size > 1 and EVALUATION_BATCH_IMAGES % mesh.size == 0:
                indices = jax.lax.with_sharding_constraint(indices, meshes.along(mesh, 0))
            assert isinstance(source, Source)  # what is fed has evaluate_rows
            return jax.tree.map(jnp.add, total, sums(params, *source.draw_held_out(arrays, indices, stream)))

        nothing = HeldOut(jnp.float32(0.0), jnp.int32(0), jnp.int32(0))
        return jax.lax.fori_loop(0, batches, add, nothing)

    @functools.partial(jax.jit, out_shardings=meshes.whole(mesh))
    def evaluate_rows(params: Params, arrays: Any) -> HeldOut:
        return sums(params, *source.draw(arrays, jnp.uint32(0), jnp.uint32(0)))

    return evaluate, evaluate_rows


def start_state(seed: jax.Array, *, shape: Shape, data: DataSpec, recipe: RecipeSpec) -> TrainState:
    """Returns the state before the first step."""
    params = families.init(
        jax.random.key(seed),
        shape,
        image_px=data.image_px,
        channels=data.channels,
        classes=data.classes,
        skip_init=recipe.skip_init,
    )
    average = jax.tree.map(jnp.copy, params) if recipe.ema_decay else None
    return TrainState(params, make_optimiser(recipe).init(params), average, jnp.int32(0), jnp.float32(0.0))


Gradient = Callable[[Params, Any, Horizon, jax.Array, jax.Array | None], tuple[jax.Array, Params]]
"""(params, arrays, horizon, indices (microbatches, rows), key) -> mean loss of the batch and its gradient."""


def make_gradient(
    shape: Shape, recipe: RecipeSpec, source: AnySource, compute: ComputeSpec, *, path: str, mesh: Mesh | None = None
) -> Gradient:
    """Returns the function from a batch to its mean loss and gradient, microbatch by microbatch."""
    forward = Forward(
        path=path,
        remat=compute.remat == "blocks",
        dropout=recipe.dropout,
        stochastic_depth=recipe.stochastic_depth,
        whole=meshes.whole(mesh) if mesh is not None and compute.sharding == "fsdp" else None,
    )
    dtype = jnp.dtype(recipe.compute_dtype)

    def loss_sum(params: Params, batch: Batch, key: jax.Array | None, pixel_range: PixelRange | None) -> jax.Array:
        images, targets = batch
        if key is not None:
            images, targets = augment(images, targets, key, recipe, pixel_range=pixel_range)
        if recipe.label_smoothing:
            mass = jnp.sum(targets, axis=-1, keepdims=True)
            targets = (1 - recipe.label_smoothing) * targets + recipe.label_smoothing * mass / targets.shape[-1]
        logits = families.apply(params, images.astype(dtype), shape, forward=forward, key=key)
        return jnp.sum(divergence(logits, targets))

    def of_part(params: Params, arrays: Any, horizon: Horizon, rows: jax.Array, key: jax.Array | None) -> Any:
        batch = source.draw(arrays, rows, horizon.stream)
        pixel_range = source.pixel_range(arrays) if source.pixel_range else None
        value, slope = jax.value_and_grad(loss_sum)(params, batch, key, pixel_range)
        return value, jnp.sum(jnp.any(batch[1] > 0, axis=-1)), slope

    def gradient(
        params: Params, arrays: Any, horizon: Horizon, indices: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, Params]:
        def part(j: Any) -> Any:
            mine = jax.tree.map(lambda leaf: leaf[j], arrays) if isinstance(source, FedSource) else arrays
            return of_part(params, mine, horizon, indices[j], None if key is None else jax.random.fold_in(key, j))

        if compute.microbatches == 1:
            value, images, slope = part(0)
        else:
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(part, 0))
            add = lambda j, total: jax.tree.map(jnp.add, total, part(j))  # noqa: E731
            value, images, slope = jax.lax.fori_loop(0, compute.microbatches, add, nothing)
        share = 1.0 / jnp.maximum(images, 1).astype(jnp.float32)
        return value * share, jax.tree.map(lambda leaf: leaf * share, slope)

    return gradient


def optimiser_step(
    state: TrainState,
    arrays: Any,
    horizon: Horizon,
    indices: jax.Array,
    *,
    gradient: Gradient,
    optimiser: optax.GradientTransformation,
    recipe: RecipeSpec,
    schedule: ScheduleSpec,
) -> TrainState:
    """Returns the state after one more step on the images of `indices` (microbatches, rows)."""
    value, slope = gradient(state.params, arrays, horizon, indices, key := _noise_key(recipe, state, horizon))
    if recipe.sam_radius:
        # The uphill neighbour's gradient, on the same images with the same noise (arXiv:2010.01412 eq. 2 and 3).
        uphill = recipe.sam_radius / jnp.maximum(optax.tree.norm(slope), 1e-12)
        neighbour = jax.tree.map(lambda p, g: p + uphill * g, state.params, slope)
        _, slope = gradient(neighbour, arrays, horizon, indices, key)
    rate = learning_rate(
        schedule,
        step=state.step,
        steps=horizon.steps,
        peak_lr=horizon.peak_lr,
        warmup_steps=horizon.warmup_steps,
    )
    direction, optimiser_state = optimiser.update(slope, state.optimiser, state.params)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
    average = state.average
    if average is not None:
        done = state.step.astype(jnp.float32)
        decay = jnp.minimum(recipe.ema_decay, (1.0 + done) / (10.0 + done))
        average = jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), average, params)
    return TrainState(params, optimiser_state, average, state.step + 1, state.loss_sum + value)


def _noise_key(recipe: RecipeSpec, state: TrainState, horizon: Horizon) -> jax.Array | None:
    """Returns the key of a step's noise, a function of seed and step alone; None where the recipe has no noise."""
    noises = (recipe.dropout, recipe.stochastic_depth, recipe.mixup_alpha, recipe.cutmix_alpha)
    if not any((*noises, recipe.randaugment_layers)):
        return None
    stream = jax.random.fold_in(jax.random.key(_NOISE_STREAM), horizon.stream)
    return jax.random.fold_in(stream, state.step)
