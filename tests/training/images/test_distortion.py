"""RandAugment's operations: what they leave alone, and the same levels as Pillow's on bytes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from training.images.distortion import OPERATIONS, STRONGEST, WHITE, randaugment

UNCONDITIONAL = ("autocontrast", "equalize")
"""Operations without a strength."""
GEOMETRIC = ("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y")

_randaugment = jax.jit(randaugment, static_argnames=("layers", "magnitude"))
_compiled = {name: jax.jit(operation) for name, operation in OPERATIONS.items()}


def _picture(seed: int, px: int, channels: int, *, low: int = 0, high: int = 255) -> np.ndarray:
    """Returns a smooth gradient with noise, bytes."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(low, high, px)[:, None, None] * np.linspace(0.4, 1.0, px)[None, :, None]
    noise = random.normal(0, 12, (px, px, channels))
    return np.clip(ramp + noise * random.uniform(0.2, 1.5, channels), low, high).astype(np.uint8)


def _pillow(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)


def _distorted(name: str, picture: np.ndarray, strength: float) -> np.ndarray:
    return np.asarray(_compiled[name](jnp.asarray(picture, jnp.float32), jnp.float32(strength)))


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
    # Pillow inverts from the threshold on, in whole levels.
    "solarize": lambda image, s: ImageOps.solarize(image, int(WHITE * (1.0 - np.float32(s))) + 1),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * s)),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1.0 + 0.9 * s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1.0 + 0.9 * s),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(1.0 + 0.9 * s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1.0 + 0.9 * s),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0, -0.7])
@pytest.mark.parametrize("name", PILLOW)
def test_same_levels_as_pillow(name: str, strength: float, channels: int) -> None:
    """On bytes every operation is within a level of Pillow's, two where it rounds what it takes away first."""
    strength = abs(strength) if name in ("solarize", "posterize") else strength
    for seed in range(4):
        picture = _picture(seed, 48, channels, low=20, high=200)
        theirs = np.asarray(PILLOW[name](_pillow(picture), strength), np.float32).reshape(picture.shape)
        difference = np.abs(np.clip(_distorted(name, picture, strength), 0, 255) - theirs)
        # Pillow cuts the degenerate image to bytes before it goes away from it by up to 1.9 times.
        assert difference.max() <= (2.0 if name in ("contrast", "color", "sharpness") else 1.0), (seed, name)


@given(seed=st.integers(0, 2**31), px=st.sampled_from([16, 33]), channels=st.sampled_from([1, 3]))
@examples(max_examples=15)
def test_no_strength_changes_nothing(seed: int, px: int, channels: int) -> None:
    """At magnitude 0 every operation that has a strength gives the image back, moves to the last bit."""
    picture = _picture(seed, px, channels)
    for name in OPERATIONS:
        if name in UNCONDITIONAL:
            continue
        same = _distorted(name, picture, 0.0)
        np.testing.assert_allclose(same, picture, atol=0.0 if name in GEOMETRIC else 1e-4, err_msg=name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_pixels_stay_in_range(name: str) -> None:
    """Whatever the strength, no pixel leaves black to white."""
    for strength in (-1.0, -0.4, 0.4, 1.0):
        pixels = _distorted(name, _picture(3, 16, 3), strength)
        assert np.isfinite(pixels).all()
        assert pixels.min() >= -1e-3
        assert pixels.max() <= WHITE + 1e-3


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_moves_mirror(name: str) -> None:
    """A move by the opposite strength of the mirrored image is the mirrored move."""
    picture = _picture(5, 20, 3)
    axis = 0 if name == "translate_y" else 1
    there = np.flip(_distorted(name, picture, 0.6), axis)
    back = _distorted(name, np.flip(picture, axis), -0.6)
    np.testing.assert_allclose(there, back, atol=1e-2)


def test_translate_moves_by_the_stated_part() -> None:
    """Strength 1 moves by 0.45 of the side and fills with grey."""
    picture = np.zeros((20, 20, 1), np.uint8)
    picture[:, 15] = 255
    moved = _distorted("translate_x", picture, 1.0)  # 9 pixels
    assert (moved[:, 6] == 255.0).all()
    assert (moved[:, -9:] == 128.0).all()


def test_equalize_spreads_small_images() -> None:
    """Where Pillow gives up, below 255 pixels, levels are spread all the same: 16 px images are not left alone."""
    picture = _picture(1, 12, 1, low=100, high=140)
    assert np.ptp(_distorted("equalize", picture, 0.0)) > 240
    flat = np.full((16, 16, 3), 77, np.uint8)
    np.testing.assert_array_equal(_distorted("equalize", flat, 0.0), flat)


def test_each_image_draws_its_own() -> None:
    """Copies of one image in a batch come out differently; the key alone decides how."""
    batch = jnp.asarray(np.repeat(_picture(0, 16, 3)[None], 24, axis=0), jnp.float32)
    one = _randaugment(batch, jax.random.key(0), layers=2, magnitude=20.0)
    again = _randaugment(batch, jax.random.key(0), layers=2, magnitude=20.0)
    other = _randaugment(batch, jax.random.key(1), layers=2, magnitude=20.0)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len({np.asarray(image).tobytes() for image in one}) > 12


def test_every_operation_is_drawn() -> None:
    """One layer over many images applies all fourteen operations, moves in both directions."""
    picture = _picture(2, 16, 3)
    batch = jnp.asarray(np.repeat(picture[None], 256, axis=0), jnp.float32)
    drawn = np.asarray(_randaugment(batch, jax.random.key(4), layers=1, magnitude=17.0))
    for name in OPERATIONS:
        for sign in (1, -1):
            wanted = _distorted(name, picture, sign * 17.0 / STRONGEST)
            assert np.abs(drawn - wanted).max(axis=(1, 2, 3)).min() < 1e-2, name
