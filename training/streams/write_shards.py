"""`python -m training.streams.write_shards FROM TO`: images in one folder a class become ArrayRecord shards.

Images go in as they are, byte for byte; what cannot be decoded is found in training.
"""

import argparse
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordWriter
from rich.console import Console
from rich.progress import track

from sweeps.errors import StudyError
from training.streams.example_record import make_example

_ENDINGS = {".jpg", ".jpeg", ".png"}
_IMAGES_PER_SHARD = 10_000
"""About 1 GB of photographs: few files, and each is copied in seconds."""
_WRITER_OPTIONS = "group_size:1,uncompressed"
"""Each image can be read alone, and is not packed a second time."""


def write_shards(source: Path, target: Path, *, images_per_shard: int = _IMAGES_PER_SHARD) -> int:
    """Returns how many images of source/CLASS/* have been written to shards in `target`, in a mixed order.

    classes.txt beside `target` has the name of a class in each line; its number is that of the line, from 0. Where the
    file is there already it is held to, so that all parts of a set agree.

    Raises:
        StudyError: there are no images, a class is not in classes.txt, or `target` exists.
    """
    if target.exists():
        raise StudyError(f"{target} exists already; name a folder that does not, or delete it")
    found = sorted(path for path in source.glob("*/*") if path.suffix.lower() in _ENDINGS)
    if not found:
        raise StudyError(f"{source} has no CLASS/*.jpg, *.jpeg or *.png; name the folder that has one folder a class")
    numbers = _class_numbers(target.parent / "classes.txt", sorted({path.parent.name for path in found}))
    # Mixed once and for all: where an epoch is fewer images than there are, its images are of all classes.
    random.Random(0).shuffle(found)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    shards = [found[first : first + images_per_shard] for first in range(0, len(found), images_per_shard)]
    for number, images in enumerate(shards):
        name = f"part-{number:05}-of-{len(shards):05}.arrayrecord"
        writer = ArrayRecordWriter(str(unfinished / name), _WRITER_OPTIONS)
        for path in track(images, description=name, console=Console(stderr=True)):
            writer.write(make_example(path.read_bytes(), numbers[path.parent.name]))
        writer.close()
    unfinished.rename(target)
    return len(found)


def _class_numbers(file: Path, names: Sequence[str]) -> dict[str, int]:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{name}\n" for name in names))
    known = {name: number for number, name in enumerate(file.read_text().splitlines())}
    if unknown := [name for name in names if name not in known]:
        raise StudyError(f"class {unknown[0]!r} is not in {file}; write the training images first, or add it as a line")
    return known


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the command: 0 with the shards in place, 2 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m training.streams.write_shards", description=__doc__)
    parser.add_argument("source", metavar="FROM", type=Path, help="holds CLASS/*.jpg, *.jpeg and *.png")
    parser.add_argument(
        "target", metavar="TO", type=Path, help="will hold the shards: .../NAME/train or .../NAME/held_out"
    )
    parser.add_argument("--per-shard", type=int, default=_IMAGES_PER_SHARD, help="images (default: %(default)s)")
    words = parser.parse_args(argv)
    try:
        written = write_shards(words.source, words.target, images_per_shard=words.per_shard)
    except StudyError as error:
        print(f"write_shards: {error}", file=sys.stderr)
        return 2
    classes = len((words.target.parent / "classes.txt").read_text().splitlines())
    print(f"{words.target}: {written:,} images, data.classes={classes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
