"""Parquet shards with columns `image` (bytes, or a struct that holds them as `bytes`) and `label`.

Parquet is read by row groups: one image of a shuffled order costs a whole group, unless it is among those read last. It
is the slowest of the three kinds, and serves sets that fit into the cache or are about to be converted.
"""

import functools
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.errors import StudyError
from training.streams.open_files import shards_kept_open

_GROUPS_KEPT = 32
"""Row groups in memory, over all shards of a process; Hugging Face writes 100 images into one."""
_READING = threading.Lock()
"""A file is read by one thread at a time, so that threads that want the same group do not all read it."""


@dataclass(frozen=True, kw_only=True)
class ParquetShard:
    """One Parquet file."""

    path: Path
    modified_ns: int
    """When the file was written: one that is written anew is opened anew."""
    ends: tuple[int, ...] = field(repr=False)
    """Row after the last of each row group."""

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read(self, position: int) -> tuple[bytes, int]:
        """Returns encoded image and label; no image where the row has none."""
        group = int(np.searchsorted(self.ends, position, side="right"))
        with _READING:
            images, labels = _row_group(self.path, self.modified_ns, group)
        row = position - (self.ends[group - 1] if group else 0)
        return images[row].as_py() or b"", int(labels[row])

    def label_bounds(self) -> tuple[int, int]:
        """Returns the lowest and the highest label of all rows."""
        labels = _labels(_file(self.path, self.modified_ns).read(columns=["label"]), self.path)
        return int(labels.min()), int(labels.max())


def open_parquet_shard(path: Path) -> ParquetShard:
    """Returns one shard.

    Raises:
        StudyError: it is no Parquet file or has no such columns.
    """
    try:
        modified_ns = path.stat().st_mtime_ns
        file = _file(path, modified_ns)
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{path} cannot be read as Parquet: {error}") from error
    schema = file.schema_arrow
    kinds = {name: schema.field(name).type for name in ("image", "label") if name in schema.names}
    if len(kinds) < 2 or not pa.types.is_integer(kinds["label"]) or not _holds_bytes(kinds["image"]):
        raise StudyError(
            f"{path} has columns {', '.join(f'{column.name} ({column.type})' for column in schema)}; it must have "
            "image (binary, or a struct with bytes) and label (integer)"
        )
    groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    return ParquetShard(path=path, modified_ns=modified_ns, ends=tuple(np.cumsum(groups).tolist()))


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(part.name == "bytes" and _holds_bytes(part.type) for part in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


@functools.lru_cache(maxsize=_GROUPS_KEPT)
def _row_group(path: Path, modified_ns: int, group: int) -> tuple[Any, Any]:
    table = _file(path, modified_ns).read_row_group(group, columns=["image", "label"], use_threads=False)
    images = table["image"].combine_chunks()
    if pa.types.is_struct(images.type):
        images = images.field("bytes")
    return images, _labels(table, path)


def _labels(table: Any, path: Path) -> Any:
    labels = table["label"]
    if labels.null_count:
        raise StudyError(f"{path} has {labels.null_count} rows without a label")
    return labels.to_numpy()


@functools.lru_cache(maxsize=shards_kept_open())
def _file(path: Path, modified_ns: int) -> Any:
    del modified_ns  # only tells one file from another
    return pq.ParquetFile(path)
