"""The optimisers and the learning rate of each step.

sgd_agc: SGD with Nesterov momentum, adaptive gradient clipping and decay where the authors of the NFNets put them
(arXiv:2102.06171). adamw: what ViTs are trained with (arXiv:2010.11929).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from sweeps.trial import RecipeSpec, ScheduleSpec
from training.networks.layers import STACKED

_DECAYED = ("weight",)
"""Leaves that weight decay touches: not gains, biases, SkipInit and position tables."""


def make_optimiser(recipe: RecipeSpec) -> optax.GradientTransformation:
    """Returns gradient -> direction; the caller scales it by the negative learning rate of the step."""
    decay = optax.add_decayed_weights(recipe.weight_decay, mask=_decayed)
    if recipe.optimiser == "sgd_agc":
        clip = _adaptive_clip(recipe.agc_clipping, recipe.agc_eps)
        return optax.chain(clip, decay, optax.trace(decay=recipe.momentum, nesterov=True))
    if recipe.optimiser == "adamw":
        clip = optax.identity()
        if recipe.gradient_norm_clip is not None:
            clip = optax.clip_by_global_norm(recipe.gradient_norm_clip)
        return optax.chain(clip, optax.scale_by_adam(b1=recipe.adam_b1, b2=recipe.adam_b2), decay)
    raise ValueError(f"optimiser {recipe.optimiser!r} is unknown; it is sgd_agc or adamw")


def _adaptive_clip(clipping: float, eps: float) -> optax.GradientTransformation:
    """Returns unit-wise adaptive clipping (arXiv:2102.06171 eq. 3) of everything but the classifier's weight.

    Norms run over the fan-in of a convolution or dense unit, and over the whole vector for gains and biases. It is
    optax's, taught that a stacked leaf holds several blocks, each with units of its own.
    """
    plain = optax.adaptive_grad_clip(clipping, eps)

    def clip(path: Any, gradient: jax.Array, param: jax.Array) -> jax.Array:
        if _name(path[0]) == "classifier" and _name(path[-1]) == "weight":
            return gradient

        def one(gradient: jax.Array, param: jax.Array) -> jax.Array:
            return plain.update(gradient, optax.EmptyState(), param)[0]  # type: ignore[return-value]

        is_stacked = any(_name(entry) == STACKED for entry in path)
        return jax.vmap(one)(gradient, param) if is_stacked else one(gradient, param)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree_util.tree_map_with_path(clip, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _decayed(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _name(path[-1]) in _DECAYED, params)


def _name(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "idx", entry)))


def learning_rate(
    schedule: ScheduleSpec, *, step: jax.Array, steps: jax.Array, peak_lr: jax.Array, warmup_steps: jax.Array
) -> jax.Array:
    """Returns the learning rate of optimiser step `step` (0-based) in a run of `steps` steps; all may be traced.

    cosine falls to 0 at the end of the run (arXiv:2310.16764 sec. 2); wsd holds the peak and falls as 1 - sqrt.
    """
    done = step.astype(jnp.float32)
    warm = jnp.minimum(1.0, (done + 1.0) / jnp.maximum(warmup_steps, 1.0))
    part = jnp.clip((done - warmup_steps) / jnp.maximum(steps - warmup_steps, 1.0), 0.0, 1.0)
    if schedule.name == "cosine":
        shape = 0.5 * (1.0 + jnp.cos(jnp.pi * part))
    elif schedule.name == "wsd":
        cooldown = schedule.cooldown_fraction
        shape = 1.0 - jnp.sqrt(jnp.clip((done / steps - (1.0 - cooldown)) / cooldown, 0.0, 1.0))
    elif schedule.name == "constant":
        shape = jnp.float32(1.0)
    else:
        raise ValueError(f"schedule {schedule.name!r} is unknown; it is cosine, wsd or constant")
    return peak_lr * warm * shape
