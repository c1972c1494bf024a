"""A folder of image shards as batches on the host: every sample once an epoch, decoded ahead of its step."""

import atexit
import contextlib
import os
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grain
from absl import flags

from sweeps.errors import StudyError
from sweeps.trial import DataSpec
from training.streams.host_batch import HostBatch, joined
from training.streams.image_slabs import HeldOutSlabs, Rows, TrainingSlabs
from training.streams.shards import ShardRow, check_row, open_shards

_ENDLESS = 2**62
"""Slabs of training."""
_BATCHES_AHEAD = 2
_OPEN: weakref.WeakSet[Generator[HostBatch]] = weakref.WeakSet()
_MOST_THREADS = 16
"""Pillow decodes and resizes outside Python's lock; the tenth of the work that is left inside feeds no more threads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageStream:
    """One opened set of images."""

    data: DataSpec
    train: ShardRow
    held_out_row: ShardRow
    threads: int
    """That decode at the same time, in each process."""
    processes: int
    """That decode beside this one, for hosts with so many cores that threads wait for one another; 0: threads alone."""

    @property
    def train_images(self) -> int:
        """Images in the training shards; the first images_per_epoch of them are trained on."""
        return len(self.train)

    @property
    def held_out_images(self) -> int:
        """Images in the held-out shards."""
        return len(self.held_out_row)

    def training(
        self, *, seed: int, first_step: int, batch_images: int, rows: slice, multiplicity: int = 1
    ) -> Generator[HostBatch]:
        """Yields this host's rows of each batch from first_step on, without end; close() stops its threads.

        Args:
            seed: of order and augmentation, at least 0.
            first_step: 0, or where a restarted run goes on.
            batch_images: rows of the batch of all hosts.
            rows: which of them are this host's.
            multiplicity: how many copies of a sample, augmented differently, stand beside one another in a batch.
        """
        if batch_images % multiplicity:
            raise StudyError(
                f"batch_images={batch_images} must be a multiple of augmentation_multiplicity={multiplicity}"
            )
        mine = _rows(batch_images, rows)
        slabs = TrainingSlabs(row=self.train, data=self.data, rows=mine, seed=seed, multiplicity=multiplicity)
        return self._batches(slabs, mine, first=first_step * mine.slabs, stop=_ENDLESS)

    def held_out(
        self, *, part: Literal["held_out", "selection"], batch_images: int, rows: slice
    ) -> Generator[HostBatch]:
        """Yields this host's rows of the batches of one held-out set; the last batch is filled up with bad rows."""
        data, mine = self.data, _rows(batch_images, rows)
        is_selection = part == "selection" and data.selection_images > 0
        images = data.selection_images if is_selection else data.held_out_images
        slabs = HeldOutSlabs(
            row=self.held_out_row,
            data=data,
            rows=mine,
            images=images,
            first=int(is_selection),
            stride=2 if data.selection_images else 1,
        )
        return self._batches(slabs, mine, first=0, stop=-(-images // batch_images) * mine.slabs)

    def _batches(self, slabs: Callable[[int], HostBatch], rows: Rows, *, first: int, stop: int) -> Generator[HostBatch]:
        ahead = max(self.threads, _BATCHES_AHEAD * rows.slabs)
        if self.processes:
            ahead = max(self.threads, -(-ahead // self.processes))
        numbers = grain.MapDataset.range(first, stop).map(slabs)
        ordered = numbers.to_iter_dataset(grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=ahead))
        if self.processes:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain asks absl's flags, which a program without absl.app never parses
            options = grain.MultiprocessingOptions(num_workers=self.processes, per_worker_buffer_size=2)
            ordered = ordered.mp_prefetch(options)
        # Slabs are joined in a thread as well: copying a large batch takes as long as a small step.
        whole = ordered.batch(rows.slabs, batch_fn=joined)
        iterator = iter(grain.experimental.ThreadPrefetchIterDataset(whole, prefetch_buffer_size=1))
        batches = _closing(iterator)
        _OPEN.add(batches)
        return batches


def open_stream(data: DataSpec, folder: Path, *, threads: int | None = None, processes: int = 0) -> ImageStream:
    """Returns the stream of the shards in folder/train and folder/held_out.

    Args:
        data: what is asked of them; order is over the first images_per_epoch of the training images.
        folder: of this set of images.
        threads: that decode at the same time; absent: one for each core that this process may use, at most 16.
        processes: that decode beside this one, each with so many threads.

    Raises:
        StudyError: shards are missing, damaged, too few for `data`, or have labels that are no classes.
    """
    if data.channels not in (1, 3):
        raise StudyError(f"channels={data.channels} cannot be decoded; images have channels=3 or, in grey, channels=1")
    train, held_out = open_shards(folder / "train"), open_shards(folder / "held_out")
    check_row(train, images=data.images_per_epoch, classes=data.classes, wanted_as="data.images_per_epoch")
    wanted = data.held_out_images
    if data.selection_images:  # even places are held out, odd ones choose the learning rate
        wanted = 2 * max(data.held_out_images, data.selection_images)
    check_row(
        held_out,
        images=wanted,
        classes=data.classes,
        wanted_as="twice the larger of data.held_out_images and data.selection_images"
        if data.selection_images
        else "data.held_out_images",
    )
    return ImageStream(
        data=data,
        train=train,
        held_out_row=held_out,
        threads=threads or min(_usable_cores(), _MOST_THREADS),
        processes=processes,
    )


def _closing(iterator: grain.DatasetIterator[HostBatch]) -> Generator[HostBatch]:
    """Yields what the iterator does, and closes it with itself."""
    try:
        yield from iterator
    finally:
        iterator.close()


@atexit.register
def _close_all() -> None:
    """Closes streams of a process that ends with them open: later, modules that grain's closing needs are gone."""
    for batches in list(_OPEN):
        with contextlib.suppress(ValueError):  # another thread is just asking it
            batches.close()


def _rows(batch_images: int, rows: slice) -> Rows:
    first, stop, _ = rows.indices(batch_images)
    return Rows(batch_images=batch_images, first=first, stop=stop)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
