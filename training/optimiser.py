"""SGD with Nesterov momentum, adaptive gradient clipping and decay where the authors put them (arXiv:2102.06171)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from sweeps.trial import RecipeSpec, ScheduleSpec

_DECAYED = ("weight",)
"""Leaves that weight decay touches: not gains, biases and SkipInit."""


def make_optimiser(recipe: RecipeSpec) -> optax.GradientTransformation:
    """Returns gradient -> direction; the caller scales it by the negative learning rate of the step.

    Unit-wise adaptive clipping is optax's: norms over the fan-in of a convolution or dense unit, over the whole vector
    for gains and biases; the classifier's weight is left out of it.
    """
    return optax.chain(
        optax.masked(optax.adaptive_grad_clip(recipe.agc_clipping, recipe.agc_eps), _clipped),
        optax.add_decayed_weights(recipe.weight_decay, mask=_decayed),
        optax.trace(decay=recipe.momentum, nesterov=True),
    )


def _clipped(params: Any) -> Any:
    def is_clipped(path: Any, leaf: Any) -> bool:
        return not (_name(path[0]) == "classifier" and _name(path[-1]) == "weight")

    return jax.tree_util.tree_map_with_path(is_clipped, params)


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


def warmup_steps(schedule: ScheduleSpec, steps: int) -> float:
    """Returns the warm-up of a run of `steps` steps, never more than its allowed part of the run [steps]."""
    return min(float(schedule.warmup_steps), schedule.warmup_max_fraction * steps)
