import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.training.streams.small_shards import encoded, picture
from training.streams.crops import CHANCES, Box, middle_box, random_box
from training.streams.decode import Picture, UndecodableError


def _plainly(file: bytes, box: Box, px: int) -> NDArray[np.float64]:
    """Returns what Pillow makes of it when the whole image is decoded first."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    edges = (box.left, box.top, box.left + box.width, box.top + box.height)
    return np.asarray(image.resize((px, px), Image.Resampling.BILINEAR, box=edges), np.float64)


def _noise(width: int, height: int) -> Image.Image:
    """Returns noise of amplitude 1/f, which has as much detail at every scale as photographs have."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    planes = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency) for _ in range(3)]
    return Image.fromarray(
        np.uint8(np.clip([128 + 50 * plane / plane.std() for plane in planes], 0, 255)).transpose(1, 2, 0)
    )


@pytest.mark.parametrize("seed", range(12))
def test_scaled_decoding_is_as_good_as_full(seed: int) -> None:
    """A large JPEG that is decoded at a part of its size is within 38 dB of one decoded in full, a small one equal."""
    chances = np.random.default_rng(seed).random(CHANCES).tolist()
    for width, height in ((1000, 760), (320, 240)):
        file = encoded(_noise(width, height), quality=90)
        box = random_box(width, height, chances)
        difference = Picture(file, channels=3).cut(box, 64) - _plainly(file, box, 64)
        worst = 255 * 10 ** (-38 / 20) if min(box.width, box.height) >= 2 * 1.5 * 64 else 0.0
        assert np.sqrt(np.mean(difference**2)) <= worst


def test_mirrored_is_the_same_the_other_way_round() -> None:
    """The box is that of the original; its pixels are reversed."""
    found = Picture(encoded(picture(0)), channels=3)
    box = Box(3, 5, 20, 20)
    assert np.array_equal(found.cut(box, 16, is_mirrored=True), found.cut(box, 16)[:, ::-1])


def test_scales_are_decoded_where_they_are_fine_enough() -> None:
    """No scale leaves a box fewer than 1.5 times the pixels of each side, and each is decoded once."""
    found = Picture(encoded(picture(0, width=800, height=800)), channels=3)
    for side, scale in ((800, 8), (767, 4), (384, 4), (383, 2), (192, 2), (191, 1), (10, 1)):
        found._decoded.clear()
        found.cut(Box(0, 0, side, side), 64)
        assert list(found._decoded) == [scale]
        assert found._decoded[scale].size == (800 // scale, 800 // scale)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "1", "I;16"])
def test_every_kind_of_image_becomes_colours_or_grey(mode: str) -> None:
    """Grey, palette, alpha, CMYK and 16 bits: as many channels as are wanted, about the same picture."""
    colours = picture(1)
    grey = np.asarray(colours.convert("L"))
    image = Image.fromarray(grey.astype(np.uint16) << 8) if mode == "I;16" else colours.convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    whole = Box(0, 0, 30, 30)
    expected = (
        colours.crop((0, 0, 30, 30))
        if mode in ("RGB", "RGBA", "P", "CMYK")
        else colours.convert("L").crop((0, 0, 30, 30))
    )
    wanted = np.asarray(expected.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR), float)
    found = Picture(encoded(image, kind), channels=3).cut(whole, 8)
    assert found.shape == (8, 8, 3)
    assert np.abs(found - wanted).mean() < 20
    assert Picture(encoded(image, kind), channels=1).cut(whole, 8).shape == (8, 8, 1)


def test_grey_of_a_palette_with_transparency() -> None:
    """A palette whose colours are partly transparent is read without a warning."""
    image = picture(1).convert("P")
    file = encoded(image, "PNG", transparency=bytes(range(256)))
    assert Picture(file, channels=3).cut(Box(0, 0, 30, 30), 8).std() > 10


@pytest.mark.parametrize("file", [b"", b"\x00" * 100, b"<html></html>", encoded(picture(0))[:300]])
def test_bytes_that_are_no_image_are_told(file: bytes) -> None:
    """Nothing, zeros, text and a header without its image."""
    with pytest.raises(UndecodableError):
        Picture(file, channels=3).cut(Box(0, 0, 10, 10), 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_cut_short_anywhere_is_told(kind: str) -> None:
    """Even the last bytes are missed."""
    file = encoded(picture(0, width=100, height=80), kind)
    for length in (len(file) // 3, len(file) * 9 // 10, len(file) - 60):
        with pytest.raises(UndecodableError):
            Picture(file[:length], channels=3).cut(Box(0, 0, 10, 10), 8)


SIDES = st.integers(1, 3000)


@given(width=SIDES, height=SIDES, seed=st.integers(0, 1000))
def test_random_boxes_are_within_the_image(width: int, height: int, seed: int) -> None:
    """Whatever the image's form: whole pixels within it, at least one."""
    box = random_box(width, height, np.random.default_rng(seed).random(CHANCES).tolist())
    assert min(box.width, box.height) >= 1
    assert min(box.left, box.top) >= 0
    assert box.left + box.width <= width
    assert box.top + box.height <= height
    assert all(float(length).is_integer() for length in box)


def test_random_boxes_are_spread_as_they_should_be() -> None:
    """Area 0.08 to 1, aspect 3/4 to 4/3, and all places as likely: means and extremes of many."""
    boxes = [random_box(1000, 1000, np.random.default_rng(seed).random(CHANCES).tolist()) for seed in range(4000)]
    areas = np.array([box.width * box.height / 1e6 for box in boxes])
    ratios = np.log([box.width / box.height for box in boxes])
    assert areas.min() == pytest.approx(0.08, abs=0.01)
    assert areas.max() > 0.95
    assert abs(ratios.mean()) < 0.02
    assert np.abs(ratios).max() == pytest.approx(np.log(4 / 3), abs=0.01)
    assert np.mean([box.left + box.width / 2 for box in boxes]) == pytest.approx(500, abs=10)


def test_boxes_that_never_fit_are_the_middle() -> None:
    """A strip is cut to the widest ratio that is allowed."""
    assert random_box(1000, 30, [0.5] * CHANCES) == Box(480, 0, 40, 30)
    assert random_box(30, 1000, [0.5] * CHANCES) == Box(0, 480, 30, 40)


def test_middle_box_is_that_of_resizing_first() -> None:
    """Short side to 256, middle 224: seven eighths of the short side."""
    assert middle_box(500, 400, 224) == Box(75, 25, 350, 350)
