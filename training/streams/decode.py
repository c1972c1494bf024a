"""An encoded image becomes pixels: decoded no finer than is needed, cut, resized, in the channels that are wanted."""

import contextlib
import io
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from training.streams.crops import Box

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is tried: Pillow knows others that start programs."""
_JPEG_SCALES = (8, 4, 2, 1)
_SPARE = 1.5
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where a box keeps at least so many times the side that it gets.

At 1.5 what comes out is within 40 dB of decoding in full, and large images take a fifth less time (docs/data.md).
"""


class UndecodableError(Exception):
    """The bytes are no image that can be read to its end."""


class Picture:
    """One encoded image; parts of it may be cut several times, and it is decoded once for each scale that they need."""

    def __init__(self, encoded: bytes, *, channels: int) -> None:
        """Reads the header.

        Raises:
            UndecodableError: it is none that is known.
        """
        self._encoded = encoded
        self._mode = "RGB" if channels == 3 else "L"
        self._decoded: dict[int, Image.Image] = {}
        with _reading():
            self._opened: Image.Image | None = self._open()
        self.width, self.height = self._opened.size
        self._scales = _JPEG_SCALES if isinstance(self._opened, JpegImageFile) else (1,)

    def cut(self, box: Box, px: int, *, is_mirrored: bool = False) -> NDArray[np.uint8]:
        """Returns a box resized to (px, px, channels), each pixel a mean over what it covers (Pillow's BILINEAR).

        Raises:
            UndecodableError: the image is cut short or damaged.
        """
        finest = min(box.width, box.height) / (_SPARE * px)
        scale = next((scale for scale in self._scales if scale <= finest), 1)
        if scale not in self._decoded:
            with _reading():
                self._decoded[scale] = self._decode(scale)
        image = self._decoded[scale]
        left, top, width, height = (length / scale for length in box)
        edges = (left, top, min(left + width, image.width), min(top + height, image.height))
        square = image.resize((px, px), Image.Resampling.BILINEAR, box=edges)
        if is_mirrored:  # four times as fast as copying a reversed view of the array
            square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(square).reshape(px, px, -1)

    def _open(self) -> Image.Image:
        return Image.open(io.BytesIO(self._encoded), formats=_FORMATS)

    def _decode(self, scale: int) -> Image.Image:
        image, self._opened = self._opened or self._open(), None
        if isinstance(image, JpegImageFile):
            image.draft(self._mode, (image.width // scale, image.height // scale))
        return _in_mode(image, self._mode)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Returns the image in colours or grey; transparency is dropped, and of 16 bits the upper 8 are kept."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")  # a palette with it does not become RGB at once
    if image.mode == mode:
        image.load()
        return image
    return image.convert(mode)


@contextlib.contextmanager
def _reading() -> Generator[None]:
    try:
        yield
    except UnidentifiedImageError as error:  # its text names an object of Python
        raise UndecodableError("none of the known formats") from error
    except Exception as error:  # damaged bytes make Pillow's readers raise anything
        raise UndecodableError(f"{type(error).__name__}: {error}") from error
