"""A folder of shards as one long row of samples: sorted by the shards' names, then by the position within each."""

import bisect
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from sweeps.errors import StudyError
from training.streams.array_records import open_array_records
from training.streams.parquet_shards import open_parquet_shard
from training.streams.tar_shards import open_tar_shard

_OPENED_AT_ONCE = 16
"""Shards: on network storage, most of the time to open one is waiting."""


class Sample(NamedTuple):
    """One image as it lies in its shard, and its class."""

    encoded: bytes
    """The image file; empty where the shard holds none that can be read."""
    label: int


class Shard(Protocol):
    """One file of samples, read at any position; it can be pickled, and opens its file in each process that reads."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def __len__(self) -> int: ...

    def read(self, position: int) -> tuple[bytes, int]:
        """Returns encoded image and label; threads may read at the same time."""
        ...

    def label_bounds(self) -> tuple[int, int]:
        """Returns the lowest and the highest label, of a spread of samples where all would take reading all."""
        ...


_OPENERS: dict[str, Callable[[Path], Shard]] = {
    ".arrayrecord": open_array_records,
    ".tar": open_tar_shard,
    ".parquet": open_parquet_shard,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardRow:
    """All shards of one folder."""

    folder: Path
    shards: Sequence[Shard]
    ends: Sequence[int]
    """Number of the sample after the last of each shard."""

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, sample: int) -> Sample:
        """Returns one sample."""
        shard, position = self._place(sample)
        return Sample(*shard.read(position))

    def where(self, sample: int) -> str:
        """Returns shard and position of a sample, for people."""
        shard, position = self._place(sample)
        return f"{shard.path}, record {position}"

    def _place(self, sample: int) -> tuple[Shard, int]:
        number = bisect.bisect_right(self.ends, sample)
        return self.shards[number], sample - (self.ends[number - 1] if number else 0)


def open_shards(folder: Path) -> ShardRow:
    """Returns the shards of a folder, which are all of one kind.

    Raises:
        StudyError: there are none, there are two kinds, or one of them cannot be read.
    """
    allowed = ", ".join(f"*{suffix}" for suffix in _OPENERS)
    paths = sorted(path for path in folder.iterdir() if path.suffix in _OPENERS) if folder.is_dir() else []
    kinds = {path.suffix for path in paths}
    if len(kinds) != 1:
        got = f"{' and '.join(sorted(kinds))} beside one another" if kinds else "no shards"
        raise StudyError(f"{folder} holds {got}; it must hold shards of one kind: {allowed} (see docs/data.md)")
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        shards = list(pool.map(_OPENERS[kinds.pop()], paths))
    ends = list(itertools.accumulate(len(shard) for shard in shards))
    return ShardRow(folder=folder, shards=shards, ends=ends)


def check_row(row: ShardRow, *, images: int, classes: int, wanted_as: str) -> None:
    """Raises a StudyError where a row has fewer images than are wanted, or labels that are no classes."""
    if len(row) < images:
        raise StudyError(f"{row.folder} has {len(row):,} images; {wanted_as} asks for {images:,}")
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        found = pool.map(lambda shard: (*shard.label_bounds(), shard.path.name), filter(len, row.shards))
        bounds = list(found)
    lowest, highest = min(bounds), max(bounds, key=lambda item: item[1])
    if lowest[0] < 0 or highest[1] >= classes:
        label, name = (lowest[0], lowest[2]) if lowest[0] < 0 else (highest[1], highest[2])
        raise StudyError(
            f"{row.folder / name} has an image of class {label}; classes={classes} allows 0 to {classes - 1}"
        )
