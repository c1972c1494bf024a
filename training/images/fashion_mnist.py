"""Fashion-MNIST (arXiv:1708.07747): 70,000 grey images of 28 x 28 in ten classes, in idx files or Debian's package."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import StudyError
from training.images.image_files import ImageSet, RealImages, checked, read_idx

FASHION_MNIST = ImageSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    side_px=28,
    channels=1,
    classes=10,
    train_images=60_000,
    test_images=10_000,
    # Taken from Debian's dataset-fashion-mnist 0.0~git20200523.
    pixels_crc32=(0xAE65DCCD, 0x12728439),
    labels_crc32=(0x2ED6E46A, 0x242BC73F),
)

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""Each plain or with .gz behind it."""

PACKAGE_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/share/dataset-fashion-mnist"))
"""Where Debian's dataset-fashion-mnist puts them."""


def load(
    data_dir: Path, *, known: ImageSet = FASHION_MNIST, package_folders: Sequence[Path] = PACKAGE_FOLDERS
) -> RealImages:
    """Returns Fashion-MNIST from data_dir/fashion_mnist, else from Debian's package.

    Raises:
        StudyError: it is in neither place, or a file is missing, cut short or changed.
    """
    own = data_dir / known.name
    folder = next((place for place in (own, *package_folders) if any(_file(place, name) for name in FILES)), None)
    if folder is None:
        raise StudyError(
            f"{known.title}: no {FILES[0]} (plain or .gz) in {own} and Debian's dataset-fashion-mnist is not installed "
            f"(type: make data NAME={known.name})"
        )
    arrays = [_read(folder, name, known) for name in FILES]
    return checked(known, folder, train=(arrays[0], arrays[1]), test=(arrays[2], arrays[3]))


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read(folder: Path, name: str, known: ImageSet) -> NDArray[np.uint8]:
    path = _file(folder, name)
    if path is None:
        raise known.fault(folder / name, expected="this file, plain or with .gz", got="no such file")
    array = read_idx(path, known)
    dimensions = 3 if "idx3" in name else 1
    if array.ndim != dimensions:
        raise known.fault(path, expected=f"{dimensions} dimension(s)", got=f"{array.ndim}")
    return array[..., None] if dimensions == 3 else array
