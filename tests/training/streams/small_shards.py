"""Tiny shards of each kind, made of procedural pictures."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from sweeps.trial import DataSpec
from training.streams.example_record import make_example

KINDS = ("arrayrecord", "tar", "parquet")
Sample = tuple[bytes, int]


def picture(number: int, *, width: int = 40, height: int = 30) -> Image.Image:
    """Returns smooth colours that differ from number to number."""
    y, x = np.mgrid[0:height, 0:width] / 10.0
    waves = [np.sin(x * (1 + number % 3) + number), np.cos(y + 0.5 * number), np.sin(x + y + 2 * number)]
    return Image.fromarray(np.uint8(128 + 100 * np.stack(waves, axis=-1)))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Returns the image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def samples(count: int, *, classes: int = 10) -> list[Sample]:
    """Returns so many JPEGs; the label of each is its number modulo the classes."""
    return [(encoded(picture(number), quality=90), number % classes) for number in range(count)]


def write_shard(path: Path, content: Sequence[Sample]) -> None:
    """Writes a shard of the kind that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writers = {".arrayrecord": _write_array_records, ".tar": _write_tar, ".parquet": _write_parquet}
    writers[path.suffix](path, content)


def write_set(folder: Path, kind: str, *, train: Sequence[Sample], held_out: Sequence[Sample], shards: int = 3) -> None:
    """Writes shards of both parts, as even as they come."""
    for part, content in (("train", train), ("held_out", held_out)):
        cuts = [len(content) * number // shards for number in range(shards + 1)]
        for number in range(shards):
            write_shard(folder / part / f"s-{number}.{kind}", content[cuts[number] : cuts[number + 1]])


def spec(**changes: Any) -> DataSpec:
    """Returns a small set's description."""
    fields: dict[str, Any] = {
        "name": "small",
        "image_px": 16,
        "channels": 3,
        "classes": 10,
        "images_per_epoch": 40,
        "held_out_images": 9,
        "selection_images": 8,
    }
    return DataSpec(**fields | changes)


def _write_array_records(path: Path, content: Sequence[Sample]) -> None:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for image, label in content:
        writer.write(make_example(image, label))
    writer.close()


def _write_tar(path: Path, content: Sequence[Sample]) -> None:
    with tarfile.open(path, "w") as archive:
        for number, (image, label) in enumerate(content):
            for name, data in ((f"{number:05}.jpg", image), (f"{number:05}.cls", str(label).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def _write_parquet(path: Path, content: Sequence[Sample]) -> None:
    images = [{"bytes": image, "path": None} for image, _ in content]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = [label for _, label in content]
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    pq.write_table(table, path, row_group_size=4)
