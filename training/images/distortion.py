"""RandAugment (arXiv:1909.13719): random distortions of pictures, each image with its own, as array operations.

Pixels are float32 from 0 (black) to 255, one or three channels. Strengths follow the table of the paper's successors,
0 to 30, where 0 changes nothing: on the scale of the first code, which ends at 10, its 10 is 30 here. Equalise and
autocontrast have no strength. Every operation gives what Pillow's gives on bytes, to a level.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

WHITE = 255.0
GREY = 128.0
"""What comes in from beyond the border of an image that is moved."""
STRONGEST = 30.0
_LEVELS = 256
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"

Operation = Callable[[jax.Array, jax.Array], jax.Array]
"""(image (px, px, channels), signed strength in parts of the strongest) -> image."""


def randaugment(pixels: jax.Array, key: jax.Array, *, layers: int, magnitude: float) -> jax.Array:
    """Returns every image of (batch, px, px, channels) after `layers` distortions drawn for it alone."""
    pixels = jnp.clip(pixels, 0.0, WHITE)
    for layer in range(layers):
        which_key, sign_key = jax.random.split(jax.random.fold_in(key, layer))
        which = jax.random.randint(which_key, (pixels.shape[0],), 0, len(OPERATIONS))
        sign = jax.random.rademacher(sign_key, (pixels.shape[0],), jnp.float32)
        strength = sign * jnp.float32(magnitude / STRONGEST)
        pixels = jax.vmap(lambda image, i, s: jax.lax.switch(i, tuple(OPERATIONS.values()), image, s))(
            pixels, which, strength
        )
    return pixels


# ---- tables: each level of each channel becomes another --------------------------------------------------------------


def autocontrast(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns each channel stretched so that its darkest pixel is black and its brightest white."""
    low, high = jnp.min(image, axis=(0, 1)), jnp.max(image, axis=(0, 1))
    stretched = (image - low) * (WHITE / jnp.maximum(high - low, 1.0))
    return jnp.where(high > low, stretched, image)


def equalize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns each channel with its levels spread so that all are about as frequent.

    Pillow's rule, which counts pixels in whole steps of 1/255 of an image and so leaves alone all that have fewer than
    255; there the step is a fraction here.
    """
    return jax.vmap(_equalized, in_axes=-1, out_axes=-1)(image)


def _equalized(channel: jax.Array) -> jax.Array:
    level = jnp.clip(jnp.round(channel), 0.0, WHITE).astype(jnp.int32)
    counts = jnp.zeros(_LEVELS, jnp.float32).at[level].add(1.0)
    pixels = channel.size - counts[jnp.max(level)]
    step = jnp.where(pixels >= WHITE, jnp.floor(pixels / WHITE), pixels / WHITE)
    below = jnp.cumsum(counts) - counts
    table = jnp.clip(jnp.floor((below + jnp.floor(step / 2.0)) / jnp.maximum(step, 1e-6)), 0.0, WHITE)
    return jnp.where(step > 0.0, table[level], channel)


def solarize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image with all levels above a threshold inverted; the threshold falls from white to black."""
    threshold = WHITE * (1.0 - jnp.abs(strength))
    return jnp.where(image > threshold, WHITE - image, image)


def posterize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image with up to four of its eight bits cleared."""
    step = jnp.exp2(jnp.round(4.0 * jnp.minimum(jnp.abs(strength), 1.0)))
    return jnp.where(step > 1.0, jnp.floor(jnp.round(image) / step) * step, image)


# ---- blends: away from, or towards, an image that lacks something ----------------------------------------------------


def brightness(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image lighter or darker."""
    return _enhanced(image, jnp.zeros_like(image), strength)


def contrast(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image nearer to its mean grey, or farther from it."""
    return _enhanced(image, jnp.full_like(image, jnp.mean(_luminance(image))), strength)


def color(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image paler or more colourful; one of a single channel as it is."""
    return _enhanced(image, jnp.broadcast_to(_luminance(image), image.shape), strength)


def sharpness(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image blurred or sharpened, but for its outermost pixels."""
    px, side = image.shape[0], image.shape[1]
    around = sum(
        image[row : px - 2 + row, column : side - 2 + column]
        for row in range(3)
        for column in range(3)
        if (row, column) != (1, 1)
    )
    blurred = (around + 5.0 * image[1:-1, 1:-1]) / 13.0
    return _enhanced(image, image.at[1:-1, 1:-1].set(blurred), strength)


def _luminance(image: jax.Array) -> jax.Array:
    """Returns the grey picture (px, px, 1)."""
    if image.shape[-1] == 1:
        return image
    return jnp.sum(image * jnp.array(_LUMINANCE, image.dtype), axis=-1, keepdims=True)


def _enhanced(image: jax.Array, without: jax.Array, strength: jax.Array) -> jax.Array:
    return jnp.clip(image + 0.9 * strength * (image - without), 0.0, WHITE)


# ---- moves: each pixel comes from elsewhere --------------------------------------------------------------------------


def rotate(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image turned by up to 30 degrees."""
    angle = strength * jnp.float32(jnp.pi / 6.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _moved(image, lambda row, column: (cos * row + sin * column, cos * column - sin * row))


def shear_x(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image with its rows pushed apart by up to 0.3 of their distance."""
    return _moved(image, lambda row, column: (row, column + 0.3 * strength * row))


def shear_y(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image with its columns pushed apart by up to 0.3 of their distance."""
    return _moved(image, lambda row, column: (row + 0.3 * strength * column, column))


def translate_x(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image moved sideways by up to 0.45 of its width."""
    return _moved(image, lambda row, column: (row, column + 0.45 * image.shape[1] * strength))


def translate_y(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the image moved up or down by up to 0.45 of its height."""
    return _moved(image, lambda row, column: (row + 0.45 * image.shape[0] * strength, column))


def _moved(image: jax.Array, origin: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Returns the image whose pixel at (row, column) from the centre was at `origin` of it, bilinearly read."""
    middle = [(side - 1) / 2.0 for side in image.shape[:2]]
    row, column = jnp.meshgrid(
        *(jnp.arange(side, dtype=image.dtype) - centre for side, centre in zip(image.shape[:2], middle, strict=True)),
        indexing="ij",
    )
    rows, columns = origin(row, column)
    places = [rows + middle[0], columns + middle[1]]
    return jax.vmap(
        lambda channel: jax.scipy.ndimage.map_coordinates(channel, places, order=1, mode="constant", cval=GREY),
        in_axes=-1,
        out_axes=-1,
    )(image)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, strength: image,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "rotate": rotate,
    "solarize": solarize,
    "color": color,
    "posterize": posterize,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
"""The paper's fourteen."""
