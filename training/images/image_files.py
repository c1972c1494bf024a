"""Image sets as files: idx, PNG sheets and CIFAR binaries in, checked arrays out, shrunk to a trial's size."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import StudyError

_IDX_UINT8 = 8
_MOST_PADDING = 0.25
"""Largest part of a side that may be padding: 28 -> 14 -> 16 pads an eighth."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """What is known of a published image set, and what its files are held to."""

    name: str
    """As in conf/data and `make data NAME=`."""
    title: str
    side_px: int
    channels: int
    classes: int
    train_images: int
    test_images: int
    pixels_crc32: tuple[int, int] | None
    """CRC-32 of all training and all test pixels, image by image in rows of (channels); None: not known."""
    labels_crc32: tuple[int, int] | None
    """CRC-32 of all training and all test labels, a byte each."""

    def fault(self, file: Path, *, expected: str, got: str) -> StudyError:
        """Returns the error for a file that is not what it should be."""
        return StudyError(
            f"{self.title}: {file}: expected {expected}, got {got}; fetch it again (type: make data NAME={self.name})"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RealImages:
    """A whole image set, in the order of its files."""

    train_images: NDArray[np.uint8]
    """(n, height, width, channels)"""
    train_labels: NDArray[np.int32]
    """(n,)"""
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]


def read_idx(path: Path, known: ImageSet) -> NDArray[np.uint8]:
    """Returns the array of an idx file of bytes, packed with gzip or not: (n,) labels or (n, height, width) images.

    Raises:
        StudyError: the file is cut short, damaged or not idx.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise known.fault(path, expected="an idx file packed with gzip", got=str(error)) from error
    dimensions = raw[3] if len(raw) >= 4 else 0
    header = 4 + 4 * dimensions
    if raw[:3] != bytes([0, 0, _IDX_UINT8]) or len(raw) < header:
        raise known.fault(path, expected="an idx file of bytes (00 00 08 ..)", got=f"{raw[:4].hex(' ') or 'nothing'}")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dimensions, 4))
    size = int(np.prod(shape, dtype=np.int64))
    if len(raw) != header + size:
        raise known.fault(path, expected=f"{header + size} bytes for shape {shape}", got=f"{len(raw)} bytes")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_sheet(path: Path, images: int, known: ImageSet) -> NDArray[np.uint8]:
    """Returns (images, side, side, channels) from a PNG in which row i is image i, its pixels one after another.

    Raises:
        StudyError: the file is no PNG, damaged, or holds another number of images.
    """
    from PIL import Image, UnidentifiedImageError

    wanted = (known.side_px**2, images)
    try:
        with Image.open(path) as picture:
            if picture.size != wanted:
                raise known.fault(path, expected=f"{wanted[0]} x {wanted[1]} pixels", got=f"{picture.size}")
            pixels = np.asarray(picture.convert("RGB" if known.channels == 3 else "L"))
    except (UnidentifiedImageError, OSError, SyntaxError, zlib.error) as error:
        raise known.fault(path, expected="a whole PNG sheet", got=str(error)) from error
    return pixels.reshape(images, known.side_px, known.side_px, known.channels)


def read_labelled_bytes(path: Path, images: int, known: ImageSet) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns images (n, side, side, channels) and labels (n,) of a CIFAR binary: a label, then plane after plane.

    Raises:
        StudyError: the file has another length.
    """
    raw = np.fromfile(path, np.uint8)
    record = 1 + known.side_px**2 * known.channels
    if raw.size != images * record:
        raise known.fault(path, expected=f"{images * record} bytes ({images} images)", got=f"{raw.size} bytes")
    rows = raw.reshape(images, record)
    planes = rows[:, 1:].reshape(images, known.channels, known.side_px, known.side_px)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0]


def checked(
    known: ImageSet,
    folder: Path,
    *,
    train: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    test: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> RealImages:
    """Returns the set when its counts, shapes, label histogram and known checksums all agree.

    Args:
        known: what they should be.
        folder: where the files lie, for the error.
        train: images (n, side, side, channels) and labels (n,).
        test: the same of the test images.

    Raises:
        StudyError: something does not agree.
    """
    for part, (images, labels), count in (("training", train, known.train_images), ("test", test, known.test_images)):
        shape = (count, known.side_px, known.side_px, known.channels)
        if images.shape != shape:
            raise known.fault(folder, expected=f"{part} images of shape {shape}", got=f"{images.shape}")
        histogram = np.bincount(labels, minlength=known.classes)
        if len(labels) != count or set(histogram.tolist()) != {count // known.classes}:
            even = f"{count} {part} labels, {count // known.classes} in each of {known.classes} classes"
            raise known.fault(folder, expected=even, got=f"{len(labels)} labels, {histogram.tolist()}")
    _check_sums(known, folder, "labels", known.labels_crc32, (train[1], test[1]))
    _check_sums(known, folder, "pixels", known.pixels_crc32, (train[0], test[0]))
    return RealImages(
        train_images=train[0],
        train_labels=train[1].astype(np.int32),
        test_images=test[0],
        test_labels=test[1].astype(np.int32),
    )


def _check_sums(
    known: ImageSet,
    folder: Path,
    what: str,
    expected: tuple[int, int] | None,
    arrays: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    for part, wanted, array in zip(("training", "test"), expected or (), arrays, strict=False):
        found = zlib.crc32(np.ascontiguousarray(array).data)
        if found != wanted:
            raise known.fault(folder, expected=f"CRC-32 {wanted:08x} over the {part} {what}", got=f"{found:08x}")


def shrink(images: NDArray[np.uint8], *, image_px: int, channels: int) -> NDArray[np.uint8]:
    """Returns the images at (n, image_px, image_px, channels): averaged over squares, then padded with zeros.

    The square is the smallest that divides the side and brings it to image_px or below: 28 -> 14, padded to 16;
    32 -> 16. Grey images are repeated over the channels. Means are rounded to the nearest of 256 levels.

    Raises:
        StudyError: more than a quarter of the side would be padding, or colours would have to be mixed.
    """
    count, side, _, own_channels = images.shape
    factors = [factor for factor in range(1, side + 1) if side % factor == 0]
    factor = next((factor for factor in factors if side // factor <= image_px), 0)
    small = side // factor if factor else 0
    if small < (1 - _MOST_PADDING) * image_px or not small:
        allowed = ", ".join(str(side // factor) for factor in factors if side // factor >= 4)
        raise StudyError(f"images of {side} pixels do not shrink to image_px={image_px}; try one of {allowed}")
    if channels not in (own_channels, 3) or own_channels not in (1, channels):
        raise StudyError(f"images with {own_channels} channel(s) cannot become channels={channels}; use {own_channels}")
    squares = images.reshape(count, small, factor, small, factor, own_channels)
    means = np.rint(squares.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
    before = (image_px - small) // 2
    edges = (before, image_px - small - before)
    padded = np.pad(means, ((0, 0), edges, edges, (0, 0)))
    return np.repeat(padded, channels // own_channels, axis=-1)
