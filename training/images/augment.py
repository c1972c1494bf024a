"""Augmentation of whole batches on the device, inside the compiled step: RandAugment, MixUp and CutMix.

Where the recipe asks for nothing, no operation is added to the program. RandAugment comes first, since it needs pixels,
and mixing afterwards: MixUp takes the first half of the batch, CutMix the second (arXiv:2102.06171 appendix).
"""

import jax
import jax.numpy as jnp

from sweeps.errors import StudyError
from sweeps.trial import RecipeSpec
from training.images.distortion import WHITE, randaugment

PixelRange = tuple[jax.Array, jax.Array]
"""What black and white are once a source has normalised its images."""


def augment(
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    recipe: RecipeSpec,
    *,
    pixel_range: PixelRange | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the batch as the recipe wants it in training; nothing is random but by `key`.

    Args:
        images: (batch, px, px, channels) as their source draws them.
        targets: (batch, classes) probabilities.
        key: of this batch; another for each step.
        recipe: its randaugment_, mixup_ and cutmix_ settings are read.
        pixel_range: what black and white are in `images`; absent where they are no pictures.

    Raises:
        StudyError: RandAugment is asked for on images that are no pictures.
    """
    if recipe.randaugment_layers > 0:
        if pixel_range is None:
            raise StudyError(
                f"randaugment_layers={recipe.randaugment_layers} distorts pictures, and this data set draws none "
                "(try: study.recipe.randaugment_layers=0)"
            )
        images = _distorted(images, jax.random.fold_in(key, 0), recipe, pixel_range)
    if recipe.mixup_alpha == 0.0 and recipe.cutmix_alpha == 0.0:
        return images, targets
    half = images.shape[0] // 2
    first, second = (images[:half], targets[:half]), (images[half:], targets[half:])
    if recipe.mixup_alpha > 0.0:
        first = mixup(*first, jax.random.fold_in(key, 1), recipe.mixup_alpha)
    if recipe.cutmix_alpha > 0.0:
        second = cutmix(*second, jax.random.fold_in(key, 2), recipe.cutmix_alpha)
    return jnp.concatenate([first[0], second[0]]), jnp.concatenate([first[1], second[1]])


def mixup(images: jax.Array, targets: jax.Array, key: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Returns each image and its target blended with those of its mirror place in the batch (arXiv:1710.09412)."""
    share = jax.random.beta(key, alpha, alpha, (images.shape[0],), images.dtype)
    return (
        _blend(images, images[::-1], share[:, None, None, None]),
        _blend(targets, targets[::-1], share[:, None].astype(targets.dtype)),
    )


def cutmix(images: jax.Array, targets: jax.Array, key: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Returns each image with a box of its mirror place in the batch pasted in (arXiv:1905.04899).

    Targets are shared by the pixels that are seen in the end, so a box cut off by the border counts as what is left.
    """
    batch, px = images.shape[0], images.shape[1]
    share_key, place_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha, (batch, 1), jnp.float32)
    side = jnp.round(px * jnp.sqrt(1.0 - share))
    centre = jax.random.randint(place_key, (batch, 2), 0, px).astype(jnp.float32)
    start = jnp.clip(jnp.floor(centre - side / 2.0), 0.0, px)
    end = jnp.clip(jnp.floor(centre - side / 2.0) + side, 0.0, px)
    place = jnp.arange(px, dtype=jnp.float32)
    rows = (place >= start[:, :1]) & (place < end[:, :1])
    columns = (place >= start[:, 1:]) & (place < end[:, 1:])
    box = rows[:, :, None] & columns[:, None, :]
    kept = 1.0 - jnp.mean(box.astype(targets.dtype), axis=(1, 2))
    return jnp.where(box[..., None], images[::-1], images), _blend(targets, targets[::-1], kept[:, None])


def _blend(one: jax.Array, other: jax.Array, share: jax.Array) -> jax.Array:
    return share * one + (1.0 - share) * other


def _distorted(images: jax.Array, key: jax.Array, recipe: RecipeSpec, pixel_range: PixelRange) -> jax.Array:
    black, white = pixel_range
    scale = (white - black) / WHITE
    pixels = randaugment(
        (images - black) / scale, key, layers=recipe.randaugment_layers, magnitude=recipe.randaugment_magnitude
    )
    return pixels * scale + black
