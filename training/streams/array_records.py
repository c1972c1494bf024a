"""ArrayRecord shards whose records are tf.train.Example as TFDS writes them: features `image` and `label`."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from sweeps.errors import StudyError
from training.streams.example_record import parse_example
from training.streams.open_files import shards_kept_open

_LOOKED_AT = 16
"""Records of a shard whose labels are looked at before training: all of them would take reading all images."""


@dataclass(frozen=True, kw_only=True)
class ArrayRecordShard:
    """One ArrayRecord file."""

    path: Path
    records: int
    modified_ns: int
    """When the file was written: one that is written anew is opened anew."""

    def __len__(self) -> int:
        return self.records

    def read(self, position: int) -> tuple[bytes, int]:
        """Returns encoded image and label; no image where the record is not such an Example."""
        try:
            record: bytes = _reader(self.path, self.modified_ns).read([position])[0]
        except RuntimeError as error:
            if "Corrupted" not in str(error):
                raise  # not the record's fault: a disk or a network is away
            return b"", 0
        return parse_example(record) or (b"", 0)

    def label_bounds(self) -> tuple[int, int]:
        """Returns the lowest and the highest label of a spread of records; the others are checked as they are read."""
        labels = [self.read(position)[1] for position in _spread(self.records)]
        return min(labels), max(labels)


def open_array_records(path: Path) -> ArrayRecordShard:
    """Returns one shard.

    Raises:
        StudyError: it is no ArrayRecord file, or packs its records so that each would take reading many.
    """
    modified_ns = path.stat().st_mtime_ns
    reader = _reader(path, modified_ns)
    if not reader.ok():
        raise StudyError(f"{path} cannot be read as ArrayRecord: it is damaged, cut short or something else")
    records, options = reader.num_records(), reader.writer_options_string() or ""
    group = re.search(r"group_size:(\d+)", options)
    if group and int(group[1]) > 1:
        raise StudyError(
            f"{path} was written with group_size:{group[1]}, so that one image would take reading {group[1]}; write it "
            f"with group_size:1 (see docs/data.md)"
        )
    return ArrayRecordShard(path=path, records=records, modified_ns=modified_ns)


@functools.lru_cache(maxsize=shards_kept_open())
def _reader(path: Path, modified_ns: int) -> Any:
    del modified_ns  # only tells one file from another
    # Without read-ahead: neighbours are not wanted.
    return ArrayRecordReader(str(path), options="readahead_buffer_size:0", file_reader_buffer_size=32768)


def _spread(count: int) -> list[int]:
    return sorted({number * (count - 1) // (_LOOKED_AT - 1) for number in range(_LOOKED_AT)})
