"""Tar shards in the manner of webdataset: KEY.jpg (or jpeg, png) and KEY.cls, one after the other.

A tar file has no table of contents. One is made when a shard is first opened, and kept for the next time: an array of
where each image lies and of its label, mapped into memory, so that any sample is one read away.
"""

import functools
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import StudyError
from training.streams.open_files import shards_kept_open

_IMAGES = ("jpg", "jpeg", "png")
_ENTRY = np.dtype([("offset", "<i8"), ("bytes", "<i8"), ("label", "<i4")])
_END_BYTES = 1024
"""Zeros at the end of every tar file."""


@dataclass(frozen=True, kw_only=True)
class TarShard:
    """One tar file and its table of contents."""

    path: Path
    contents: Path
    """Its name says of which state of the file it is."""
    samples: int

    def __len__(self) -> int:
        return self.samples

    def read(self, position: int) -> tuple[bytes, int]:
        """Returns encoded image and label."""
        entry = _contents(self.contents)[position]
        file = _opened(self.path, self.contents)
        return os.pread(file.descriptor, int(entry["bytes"]), int(entry["offset"])), int(entry["label"])

    def label_bounds(self) -> tuple[int, int]:
        """Returns the lowest and the highest label of all samples."""
        labels = _contents(self.contents)["label"]
        return int(labels.min()), int(labels.max())


def open_tar_shard(path: Path) -> TarShard:
    """Returns one shard; reads through it for its table of contents where that has not been done yet.

    Raises:
        StudyError: it is no tar file, or an image in it has no label.
    """
    state = path.stat()
    # The name says of which file it is: a shard that was written anew has no table yet.
    name = f"{path.name}.{state.st_size:x}-{state.st_mtime_ns:x}.npy"
    places = [path.parent / ".contents" / name, _cache_folder(path.parent) / name]
    known = next((place for place in places if place.exists()), None)
    if known is None:
        known = _kept(_read_contents(path), places)
    return TarShard(path=path, contents=known, samples=len(_contents(known)))


def _cache_folder(folder: Path) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "loglog", "tar-contents", *folder.resolve().parts[1:])


def _kept(contents: NDArray[np.void], places: list[Path]) -> Path:
    """Returns the file that now holds the table: beside the shards or, where one must not write there, in the cache."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
                np.save(file, contents)
            Path(file.name).replace(place)  # several hosts may do the same at once
        except OSError:
            continue
        return place
    raise StudyError(
        f"the table of contents of the tar shards can be kept neither in {places[0].parent} nor in a cache"
    )


def _read_contents(path: Path) -> NDArray[np.void]:
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                key, _, kind = base.partition(".")
                key = f"{folder}/{key}"
                if member.isfile() and kind.lower() in _IMAGES:
                    images.setdefault(key, (member.offset_data, member.size))
                elif member.isfile() and kind.lower() == "cls":
                    labels[key] = _label(archive, member, path)
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue] -- tarfile would keep them all
        with path.open("rb") as file:
            file.seek(-min(_END_BYTES, path.stat().st_size), os.SEEK_END)
            if any(file.read()):  # tarfile takes it for the end where a header is cut short
                raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, OSError) as error:
        raise StudyError(f"{path} cannot be read as tar: {error}") from error
    if unpaired := sorted(images.keys() ^ labels.keys()):
        key = unpaired[0].lstrip("/")
        raise StudyError(f"{path}: {key} has no {'label (.cls)' if unpaired[0] in images else 'image (.jpg, .png)'}")
    return np.array([(*place, labels[key]) for key, place in images.items()], _ENTRY)


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    file = archive.extractfile(member)
    text = file.read().strip() if file else b""
    try:
        return int(text)
    except ValueError:
        raise StudyError(f"{path}: {member.name} holds {text[:20]!r}; it must hold the number of a class") from None


class _OpenFile:
    """A file that is closed when it is neither among those kept open nor being read."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self.descriptor)


@functools.lru_cache(maxsize=shards_kept_open())
def _opened(path: Path, contents: Path) -> _OpenFile:
    del contents  # only tells one file from another
    return _OpenFile(path)


@functools.lru_cache(maxsize=shards_kept_open())
def _contents(path: Path) -> NDArray[np.void]:
    return np.load(path, mmap_mode="r")
